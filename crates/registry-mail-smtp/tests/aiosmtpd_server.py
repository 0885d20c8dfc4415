"""A mail server for a test, with STARTTLS and AUTH: aiosmtpd (https://aiosmtpd.aio-libs.org).

Arguments: certificate chain, key, user name, password, port. Prints `listening`, then each mail as
a line of JSON. Ends when standard input is closed.
"""

import json
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

certificate, key, user, password, port = sys.argv[1:]


class MailPrinter:
    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "authenticated": session.authenticated,
            "raw": envelope.content.decode("utf-8"),
        }
        print(json.dumps(mail), flush=True)
        return "250 accepted"


def authenticate(server, session, envelope, mechanism, data):
    ok = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=ok, handled=ok)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
controller = Controller(
    MailPrinter(),
    hostname="127.0.0.1",
    port=int(port),
    tls_context=context,
    require_starttls=True,
    auth_required=True,
    authenticator=authenticate,
)
controller.start()
print("listening", flush=True)
sys.stdin.read()
controller.stop()
