// The official Postmark client against a running relay, by its own options.
import assert from "node:assert/strict";
import postmark from "postmark";

const options = { requestHost: process.env.API, useHttps: false };
const client = new postmark.ServerClient(process.env.SERVER_TOKEN, options);
const account = new postmark.AccountClient(process.env.ACCOUNT_TOKEN, options);
const { FROM, TO } = process.env;

// eventually waits for what the relay does in its own time.
async function eventually(look, good) {
  let value;
  for (let i = 0; i < 150; i++) {
    value = await look();
    if (good(value)) return value;
    await new Promise((done) => setTimeout(done, 100));
  }
  assert.fail(`it has not happened: ${JSON.stringify(value)}`);
}

const sent = await client.sendEmail({
  From: `"Shop, The" <${FROM}>`, To: `"Doe, Jane" <${TO}>`, Subject: "api-single", HtmlBody: "<p>Grüße <img src=\"cid:logo\">", TextBody: "Grüße",
  Tag: "e2e", Metadata: { order: "7" }, Attachments: [new postmark.Models.Attachment("logo.png", "cG5n", "image/png", "cid:logo")],
});
assert.equal(sent.ErrorCode, 0);
assert.equal(sent.To, `"Doe, Jane" <${TO}>`);

const batch = await client.sendEmailBatch([
  { From: FROM, To: TO, Subject: "api-batch-1", TextBody: "one" }, { From: FROM, To: "nobody", Subject: "x", TextBody: "x" }, { From: FROM, To: TO, Subject: "api-batch-2", TextBody: "two" },
]);
assert.deepEqual(batch.map((r) => r.ErrorCode), [0, 300, 0]);

await assert.rejects(client.sendEmail({ From: FROM, To: TO, Subject: "x" }), { name: "InvalidEmailRequestError", code: 300, statusCode: 422 });
await assert.rejects(new postmark.ServerClient(process.env.ACCOUNT_TOKEN, options).getServer(), { name: "InvalidAPIKeyError", code: 10, statusCode: 401 });
await assert.rejects(client.getOutboundMessages({ count: -1 }), { name: "ApiInputError", statusCode: 422 });

const trial = await new postmark.ServerClient("POSTMARK_API_TEST", options).sendEmail({ From: FROM, To: TO, Subject: "api-trial", TextBody: "x" });
assert.equal(trial.Message, "Test job accepted");

const found = await client.getOutboundMessages({ tag: "e2e" });
assert.equal(found.TotalCount, 1);
assert.equal(found.Messages[0].MessageID, sent.MessageID);

const details = await eventually(() => client.getOutboundMessageDetails(sent.MessageID), (d) => d.Status === "Sent");
assert.deepEqual(details.MessageEvents.map((e) => [e.Type, e.Recipient]), [["Delivered", TO]]);
assert.match((await client.getOutboundMessageDump(sent.MessageID)).Body, /Subject: api-single/);

const stream = await client.createMessageStream({ ID: "e2e-news", Name: "News", MessageStreamType: "Broadcasts" });
assert.equal(stream.MessageStreamType, "Broadcasts");
assert.equal((await client.editMessageStream("e2e-news", { Name: "New name" })).Name, "New name");
assert.equal((await client.archiveMessageStream("e2e-news")).ID, "e2e-news");
assert.equal((await client.unarchiveMessageStream("e2e-news")).ArchivedAt, null);
assert.equal((await client.getMessageStreams()).TotalCount, 4);

const hook = await client.createWebhook(new postmark.Models.CreateWebhookRequest("https://example.com/hook",
  { Bounce: { Enabled: true, IncludeContent: true }, Open: { Enabled: true, PostFirstOpenOnly: true } }, { Username: "u", Password: "p" }, [{ Name: "X-A", Value: "b" }]));
assert.deepEqual([hook.MessageStream, hook.Triggers.Bounce, hook.Triggers.Open.PostFirstOpenOnly, hook.Triggers.Click.Enabled],
  ["outbound", { Enabled: true, IncludeContent: true }, true, false]);
assert.equal((await client.getWebhook(hook.ID)).Url, "https://example.com/hook");
assert.equal((await client.editWebhook(hook.ID, { Triggers: { Delivery: { Enabled: true } } })).Triggers.Bounce.Enabled, true);
assert.deepEqual((await client.getWebhooks({ messageStream: "outbound" })).Webhooks.map((w) => w.ID), [hook.ID]);
assert.match((await client.deleteWebhook(hook.ID)).Message, /removed/);
await assert.rejects(client.getWebhook(hook.ID), { name: "ApiInputError", code: 1352 });

const overview = await eventually(() => client.getOutboundOverview(), (o) => o.Sent >= 3);
assert.deepEqual([overview.Bounced, overview.SpamComplaints, overview.Opens], [0, 0, 0]);
assert.equal((await client.getSentCounts({ tag: "e2e" })).Sent, 1);
assert.equal((await client.getSentCounts({ tag: "none" })).Sent, 0);
for (const counts of [client.getBounceCounts(), client.getSpamComplaintsCounts(), client.getTrackedEmailCounts(), client.getEmailOpenCounts(),
  client.getEmailOpenPlatformUsage(), client.getEmailOpenClientUsage(), client.getEmailOpenReadTimes(), client.getClickCounts(),
  client.getClickBrowserUsage(), client.getClickPlatformUsage(), client.getClickLocation()]) {
  assert.ok(Array.isArray((await counts).Days));
}

const server = await account.createServer({ Name: "e2e-api", Color: "red" });
const own = await new postmark.ServerClient(server.ApiTokens[0], options).getServer();
assert.equal(own.ID, server.ID);
assert.equal((await account.editServer(server.ID, { Color: "blue" })).Color, "blue");
assert.equal((await account.getServers({ name: "e2e-api" })).TotalCount, 1);
assert.match((await account.deleteServer(server.ID)).Message, /removed/);
await client.editServer({ Color: "green" });
console.log("done");
