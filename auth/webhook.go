package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/mailchute/mailchute/store"
)

func bindWebhook(id int64) string { return "webhook/" + strconv.FormatInt(id, 10) }

// SealWebhook encrypts the secrets of the webhook with that number with the newest
// key, for store.Webhook.Sealed.
func (k *Keyring) SealWebhook(id int64, s store.WebhookSecrets) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, errors.New("encoding the secrets of a webhook") // the cause could show them
	}
	return k.Seal(string(text), bindWebhook(id)), nil
}

// OpenWebhook returns the secrets that SealWebhook sealed. It fails as Open does.
func (k *Keyring) OpenWebhook(w store.Webhook) (s store.WebhookSecrets, err error) {
	text, err := k.Open(w.Sealed, bindWebhook(w.ID))
	if err != nil {
		return s, fmt.Errorf("opening the secrets of webhook %d: %w", w.ID, err)
	}
	if json.Unmarshal([]byte(text), &s) != nil {
		return s, fmt.Errorf("secrets of webhook %d: %w", w.ID, store.ErrDamaged)
	}
	return s, nil
}

// moveWebhook seals the webhook's secrets with the newest key, and tells whether
// it had to.
func (k *Keyring) moveWebhook(w store.Webhook) (store.Webhook, bool, error) {
	if number, ok := sealedKey(w.Sealed); ok && number == k.set.Load().newest().number {
		return w, false, nil
	}
	s, err := k.OpenWebhook(w)
	if err == nil {
		w.Sealed, err = k.SealWebhook(w.ID, s)
	}
	return w, err == nil, err
}
