#!/usr/bin/env python3
"""A small client of Plexus: Python 3 and its standard library. The steps are those of agents.md.

    client.py enroll CODE         redeem a one-time code; the credential goes to $PLEXUS_PAT_FILE
    client.py list                print the ids that this agent may see
    client.py call ID [JSON [KEY]]  make a call; where the owner has to decide, wait for that

With a KEY of yours, the same call is made once within a day, however often you ask for it.

PLEXUS_URL is the gateway's address: http://127.0.0.1:7077 if it is not set.
Exit statuses: 0 done, 1 failed, 64 usage, 75 not decided within ten minutes, 77 refused.
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("PLEXUS_URL", "http://127.0.0.1:7077")
FILE = os.environ.get("PLEXUS_PAT_FILE", "./plexus.pat")
# A gateway on this machine is not reached by a proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def send(method, path, headers=None, body=None):
    """The answer as JSON, whatever its status."""
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(URL + path, data, headers or {}, method=method)
        request.add_header("content-type", "application/json")
        try:
            answer = OPENER.open(request, timeout=120)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            return json.load(answer)
    except (urllib.error.URLError, http.client.InvalidURL) as error:
        sys.exit(f"No gateway answers at {URL} ({error}): start it (plexusctl service install), or set PLEXUS_URL.")
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.exit(f"{URL} gave no whole answer ({error}). What was asked may be done: plexusctl activity tells its owner.")


def refused(answer):
    print(json.dumps(answer, indent=2), file=sys.stderr)
    return 77


def enroll(code):
    answer = send("POST", "/agents/enroll", body={"code": code})
    if "pat" not in answer:
        return refused(answer)
    with open(os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(answer["pat"] + "\n")
    print(answer["agentId"])
    return 0


def open_session():
    try:
        with open(FILE) as file:
            pat = file.read().strip()
    except OSError as error:
        print(f"No credential in {FILE} ({error.strerror}): enroll first.", file=sys.stderr)
        sys.exit(77)
    answer = send("POST", "/link/handshake", {"authorization": f"Bearer {pat}"}, {"client": {"name": "client.py"}})
    if "sessionId" not in answer:
        sys.exit(refused(answer))
    return {"x-plexus-session": answer["sessionId"]}, answer["manifest"]


def list_capabilities():
    _, manifest = open_session()
    for entry in manifest["entries"]:
        if entry["kind"] == "capability":
            print(entry["id"])
    return 0


def call(capability, text="{}", key=None):
    try:
        given = json.loads(text)
    except ValueError as error:
        sys.exit(f"The input is no JSON: {error}.")
    session, manifest = open_session()
    body = {"id": capability, "input": given, "onApproval": "run", "token": False}
    if key:
        body["idempotencyKey"] = key
    entry = next((entry for entry in manifest["entries"] if entry["id"] == capability), {})
    body["async"] = entry.get("longRunning", False)
    answer = send("POST", "/invoke", session, body)
    while answer.get("run", {}).get("status") == "running":
        run = send("GET", f"/invoke/status?runId={answer['run']['runId']}&wait=60", session)
        answer = run.get("result") or {"run": run}
    error = answer.get("error", {})
    if error.get("code") == "approval_required":
        print(f"waiting for the owner: {error['pendingId']}", file=sys.stderr)
        for _ in range(10):
            status = send("GET", f"/grants/status?pendingId={error['pendingId']}&wait=60", session)
            if "result" in status:
                answer = status["result"]
                break
            if status.get("state") == "approved":
                session, _ = open_session()  # the one that asked has ended: a live one is given the result
            elif status.get("state") != "pending":
                return refused(status)
        else:
            return 75
    if answer.get("replayed"):
        print("nothing was done again: this is the outcome of an earlier call", file=sys.stderr)
    print(json.dumps(answer, indent=2))
    return 0 if answer.get("ok") else 1


def main(words):
    commands = {"enroll": (enroll, 1, 1), "list": (list_capabilities, 0, 0), "call": (call, 1, 3)}
    command, least, most = commands.get(words[0] if words else "", (None, 0, 0))
    if command is None or not least <= len(words) - 1 <= most:
        print(__doc__, file=sys.stderr)
        return 64
    return command(*words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
