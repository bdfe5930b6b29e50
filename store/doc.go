// Package store is the vocabulary of mailchute and the contract that every
// storage engine keeps. It holds types, errors and interfaces; it does no I/O
// and imports nothing of the project.
//
// # What an engine promises
//
// Atomicity: each method is one transaction. It happens whole, or it returns an
// error. An error of Draft.Commit, Queue.Claim, Queue.Resolve, Returns.Return, Queue.Amend or
// Directory.Change that wraps [ErrUnknown] means that the engine cannot tell
// which: the caller treats the outcome as temporary failure and the engine
// recognises the repetition.
//
// Durability: when Draft.Commit, Queue.Claim, Queue.Resolve, Returns.Return, Queue.Amend or
// Directory.Change return nil, their effect survives a crash of the process and
// a loss of power.
//
// The same holds for the writing methods of Suppressions and Notifications.
//
// Delivery is at least once. A delivery is claimed before it is dialled and
// resolved after the remote answered; a crash between the two repeats it.
//
// Fencing: Claim raises Delivery.Attempt by one and takes a lease. Resolve
// carries that attempt number and fails with [ErrStale] when another claim has
// been made since, so a worker that lost its lease cannot overwrite the result
// of the one that followed.
//
// Ordering: none between deliveries. Events of one message are in the order in
// which their transactions committed.
//
// Clock: the caller's. Every method that compares or records a time is given
// it; an engine never reads the clock for a decision that it stores.
//
// Cancellation: a context that ends before the transaction has begun makes the
// method return its error; after that the method runs to its end.
//
// Other processes: a caller may not assume that it is alone. Leases expire,
// snapshots are replaced, a claimed ticket may be gone.
package store
