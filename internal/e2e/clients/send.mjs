// Sends the message on standard input by nodemailer, as the environment says.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const env = process.env;
const transport = nodemailer.createTransport({
  host: env.HOST,
  port: Number(env.PORT),
  localAddress: env.SOURCE || undefined,
  secure: env.TLS === "implicit",
  requireTLS: env.TLS === "starttls",
  ignoreTLS: env.TLS === "none",
  tls: { ca: readFileSync(env.CA), servername: "localhost" },
  auth: { user: env.USER_NAME, pass: env.PASSWORD },
});
try {
  const sent = await transport.sendMail({
    envelope: { from: env.FROM, to: env.TO },
    raw: readFileSync(0),
  });
  console.log(sent.response);
} catch (e) {
  console.error(e.response ?? e.message);
  process.exitCode = 1;
} finally {
  transport.close();
}
