// Bounces, suppressions, domains and senders by the official Postmark client.
import assert from "node:assert/strict";
import postmark from "postmark";

const options = { requestHost: process.env.API, useHttps: false };
const client = new postmark.ServerClient(process.env.SERVER_TOKEN, options);
const account = new postmark.AccountClient(process.env.ACCOUNT_TOKEN, options);
const { FROM, TO, OFF } = process.env;

async function until(ask, ok) {
  for (let i = 0; i < 200; i++) {
    const answer = await ask();
    if (ok(answer)) return answer;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error("it did not come about");
}

// The host refuses the first message to TO for good.
const first = await client.sendEmail({ From: FROM, To: TO, Subject: "lists-refused", TextBody: "x", Tag: "lists" });
const bounces = await until(() => client.getBounces({ tag: "lists", inactive: true }), (b) => b.TotalCount === 1);
const [bounce] = bounces.Bounces;
assert.deepEqual([bounce.Type, bounce.TypeCode, bounce.Email, bounce.MessageID, bounce.CanActivate], ["HardBounce", 1, TO, first.MessageID, true]);
assert.ok(Number.isSafeInteger(bounce.ID));
assert.match((await client.getBounce(bounce.ID)).Details, /550 5\.1\.1 no such user/);
assert.match((await client.getBounceDump(bounce.ID)).Body, /Action: failed/);
assert.equal((await client.getBounces({ messageID: first.MessageID, type: "HardBounce", emailFilter: TO.slice(2, 9) })).TotalCount, 1);
assert.equal((await client.getBounces({ type: "SpamComplaint" })).TotalCount, 0);
const stats = await client.getDeliveryStatistics();
assert.equal(stats.InactiveMails, 1);
assert.deepEqual(stats.Bounces.map((b) => [b.Name, b.Count]), [["All", 1], ["Hard bounce", 1]]);
const events = (await client.getOutboundMessageDetails(first.MessageID)).MessageEvents;
assert.deepEqual(events.map((e) => [e.Type, e.Details.BounceID]), [["Bounced", String(bounce.ID)]]);

const list = await client.getSuppressions("outbound", { suppressionReason: "HardBounce" });
assert.deepEqual(list.Suppressions.map((s) => [s.EmailAddress, s.SuppressionReason, s.Origin]), [[TO, "HardBounce", "Recipient"]]);
await assert.rejects(client.sendEmail({ From: FROM, To: TO, Subject: "x", TextBody: "x" }), (e) => {
  assert.equal(e.name, "InactiveRecipientsError");
  assert.deepEqual(e.recipients, [TO]);
  return true;
});
assert.equal((await client.activateBounce(bounce.ID)).Bounce.Inactive, false);
assert.equal((await client.getSuppressions("outbound")).Suppressions.length, 0);

const put = await client.createSuppressions("outbound", { Suppressions: [{ EmailAddress: OFF }, { EmailAddress: "none" }] });
assert.deepEqual(put.Suppressions.map((s) => s.Status), ["Suppressed", "Failed"]);
assert.equal((await client.getSuppressions("outbound", { emailAddress: OFF })).Suppressions.length, 1);
assert.equal((await client.getSuppressions("outbound", { emailAddress: "invalid" })).Suppressions.length, 0);
const partly = await client.sendEmail({ From: FROM, To: `${TO}, ${OFF}`, Subject: "lists-partly", TextBody: "x" });
assert.equal(partly.ErrorCode, 0);
assert.match(partly.Message, new RegExp(`will not deliver to these inactive addresses: ${OFF}\\. Inactive`));
assert.deepEqual((await client.deleteSuppressions("outbound", { Suppressions: [{ EmailAddress: OFF }] })).Suppressions.map((s) => s.Status), ["Deleted"]);

const domain = await account.createDomain({ Name: "lists.example", ReturnPathDomain: "pm.lists.example" });
assert.equal(domain.DKIMTextValue, "");
assert.match(domain.DKIMPendingHost, /\._domainkey\.lists\.example$/);
await assert.rejects(account.rotateDomainDKIM(domain.ID), { code: 505 });
assert.equal((await account.verifyDomainDKIM(domain.ID)).DKIMVerified, false);
assert.equal((await account.verifyDomainReturnPath(domain.ID)).ReturnPathDomainVerified, false);
assert.equal((await account.verifyDomainSPF(domain.ID)).SPFVerified, true);
assert.equal((await account.editDomain(domain.ID, { ReturnPathDomain: "other.lists.example" })).ReturnPathDomain, "other.lists.example");
assert.equal((await account.getDomain(domain.ID)).Name, "lists.example");
assert.equal((await account.getDomains()).Domains.some((d) => d.ID === domain.ID), true);

const sender = await account.createSenderSignature({ FromEmail: "ada@lists.example", Name: "Ada", ReplyToEmail: "help@lists.example" });
assert.deepEqual([sender.Confirmed, sender.Domain, sender.ReplyToEmailAddress], [false, "lists.example", "help@lists.example"]);
await assert.rejects(client.sendEmail({ From: "ada@lists.example", To: TO, Subject: "x", TextBody: "x" }), { code: 400, statusCode: 422 });
assert.match((await account.resendSenderSignatureConfirmation(sender.ID)).Message, /was re-sent\.$/);
assert.equal((await account.editSenderSignature(sender.ID, { Name: "Ada L." })).Name, "Ada L.");
assert.equal((await account.verifySenderSignatureSPF(sender.ID)).ID, sender.ID);
await assert.rejects(account.requestNewDKIMForSenderSignature(sender.ID), { code: 505 });
assert.equal((await account.getSenderSignatures()).TotalCount, 1);
assert.equal((await account.getSenderSignature(sender.ID)).EmailAddress, "ada@lists.example");
assert.match((await account.deleteSenderSignature(sender.ID)).Message, /removed/);
assert.match((await account.deleteDomain(domain.ID)).Message, /removed/);
console.log("done");
