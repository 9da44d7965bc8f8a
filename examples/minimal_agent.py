#!/usr/bin/env python3
"""An agent of Plexus in one page: Python 3 and its standard library.

It lists a shared folder, asks to write one file into it, waits for the owner, and prints how to take that back.
PLEXUS_ENROLL_CODE redeems a one-time code, once; the credential goes to $PLEXUS_PAT_FILE (./plexus.pat).
PLEXUS_URL is the gateway's address: http://127.0.0.1:7077 if it is not set.
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("PLEXUS_URL", "http://127.0.0.1:7077")
FILE = os.environ.get("PLEXUS_PAT_FILE", "./plexus.pat")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def send(method, path, headers, body=None):
    """The answer as JSON, whatever its status: a refusal says whether anything was done, why, and what next."""
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(URL + path, data, headers, method=method)
        request.add_header("content-type", "application/json")
        try:
            answer = OPENER.open(request, timeout=120)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            return json.load(answer)
    except (urllib.error.URLError, http.client.InvalidURL) as error:
        sys.exit(f"No gateway answers at {URL} ({error}): start it (plexusctl service install), or set PLEXUS_URL.")
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.exit(f"{URL} gave no whole answer ({error}). What was asked may be done: plexusctl activity tells its owner.")


def credential():
    """The agent's own credential: it lasts until the owner ends it, so a file that only its user reads keeps it."""
    code = os.environ.get("PLEXUS_ENROLL_CODE")
    if code and not os.path.exists(FILE):
        answer = send("POST", "/agents/enroll", {}, {"code": code})
        if "pat" not in answer:
            sys.exit(json.dumps(answer, indent=2))
        with open(os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(answer["pat"])
    if not os.path.exists(FILE):
        sys.exit(f"{FILE} is not there: set PLEXUS_ENROLL_CODE to the code that plexusctl connect prints.")
    with open(FILE) as file:
        return file.read().strip()


def open_session():
    """The header of a new session, and what the agent may see."""
    greeting = {"client": {"name": "minimal-agent"}}
    answer = send("POST", "/link/handshake", {"authorization": f"Bearer {credential()}"}, greeting)
    if "sessionId" not in answer:
        sys.exit(json.dumps(answer, indent=2))
    return {"x-plexus-session": answer["sessionId"]}, answer["manifest"]


def call(session, capability, value, purpose):
    """One call. Where the owner has to decide, their approval makes it; this only waits for what comes of it."""
    body = {"id": capability, "input": value, "purpose": purpose, "onApproval": "run", "token": False}
    answer = send("POST", "/invoke", session, body)
    error = answer.get("error", {})
    if error.get("code") != "approval_required":
        return answer
    print(f"waiting for the owner: {error['pendingId']} ({error['approvalUrl']})", file=sys.stderr)
    while True:
        status = send("GET", f"/grants/status?pendingId={error['pendingId']}&wait=60", session)
        if "result" in status:
            return status["result"]
        if status.get("state") == "approved":
            # A session lasts an hour: the one that asked has ended, and a live one is given the result.
            session.update(open_session()[0])
        elif status.get("state") != "pending":
            return {"ok": False, "error": status}


def main():
    session, manifest = open_session()
    print("I may ask for:", ", ".join(entry["id"] for entry in manifest["entries"]))

    listed = call(session, "workspace.list", {"path": ""}, "to see what is there")
    print("There is:", json.dumps(listed.get("output", listed.get("error"))))

    note = {"path": "hello.md", "content": "An agent was here.\n"}
    wrote = call(session, "workspace.write", note, "to leave a note that I was here")
    if not wrote["ok"]:
        sys.exit(json.dumps(wrote["error"], indent=2))
    if wrote.get("replayed"):
        print("It was written when I asked before; nothing was done again.")
    print(f"Written. The owner takes it back with: plexusctl undo {wrote['undo']}")


if __name__ == "__main__":
    main()
