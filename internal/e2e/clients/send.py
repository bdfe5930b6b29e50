"""Sends the message on standard input by smtplib, as the environment says."""
import os, smtplib, ssl, sys

env = os.environ
host, port = env["HOST"], int(env["PORT"])
context = ssl.create_default_context(cafile=env["CA"])
source = (env["SOURCE"], 0) if env["SOURCE"] else None
if env["TLS"] == "implicit":
    client = smtplib.SMTP_SSL(host, port, context=context, source_address=source)
else:
    client = smtplib.SMTP(host, port, source_address=source)
    if env["TLS"] == "starttls":
        client.starttls(context=context)
try:
    client.login(env["USER_NAME"], env["PASSWORD"])
    message = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
    client.sendmail(env["FROM"], [env["TO"]], message)
except smtplib.SMTPResponseException as e:
    sys.exit(f"{e.smtp_code} {e.smtp_error.decode()}")
finally:
    client.close()
