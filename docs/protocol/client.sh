#!/bin/sh
# A small client of Plexus: a shell, curl, sed. The steps are those of agents.md.
#
#   client.sh enroll CODE         redeem a one-time code; the credential goes to $PLEXUS_PAT_FILE
#   client.sh list                print the ids that this agent may see
#   client.sh call ID [JSON [KEY]]  make a call; where the owner has to decide, wait for that
#
# With a KEY of yours, the same call is made once within a day, however often you ask for it.
# PLEXUS_URL is the gateway's address: http://127.0.0.1:7077 if it is not set.
# Exit statuses: 0 done, 1 failed, 64 usage, 75 not decided within ten minutes, 77 refused.
#
# sed finds ids and words in JSON. It is not enough for outputs, so they are printed as they came.
set -eu
url=${PLEXUS_URL:-http://127.0.0.1:7077}
file=${PLEXUS_PAT_FILE:-./plexus.pat}

# send METHOD PATH HEADER [BODY]: prints the answer, whatever its status. The header goes by a pipe, because other
# programs can read arguments.
send() {
    if [ $# -gt 3 ]; then
        printf '%s\n' "$3" | curl -sS --noproxy '*' -X "$1" -H @- -H 'content-type: application/json' --data-binary "$4" "$url$2"
    else
        printf '%s\n' "$3" | curl -sS --noproxy '*' -X "$1" -H @- "$url$2"
    fi || {
        echo "No whole answer from $url: start the gateway (plexusctl service install), or set PLEXUS_URL." >&2
        echo "What was asked may be done: plexusctl activity tells its owner." >&2
        exit 1
    }
}
# member NAME: a string member that the answer has once.
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

open_session() {
    [ -r "$file" ] || { echo "No credential in $file: enroll first." >&2; exit 77; }
    opened=$(send POST /link/handshake "authorization: Bearer $(cat "$file")" '{"client":{"name":"client.sh"}}')
    session=$(printf '%s' "$opened" | sed -n 's/^{"sessionId":"\([^"]*\)".*/\1/p')
    [ -n "$session" ] || { printf '%s\n' "$opened" >&2; exit 77; }
    session="x-plexus-session: $session"
}

# finish ANSWER PREFIX: prints it; done where the InvokeResponse behind PREFIX says so.
finish() {
    case $1 in
    *'"replayed":true}' | *'"replayed":true}}' | *'"replayed":true,"outputOmitted":true}')
        echo 'nothing was done again: this is the outcome of an earlier call' >&2
        ;;
    esac
    printf '%s\n' "$1"
    case $1 in *"$2"'{"id":"'"$id"'","ok":true'*) exit 0 ;; *) exit 1 ;; esac
}

case "${1-} $#" in
"enroll 2")
    answer=$(send POST /agents/enroll 'accept: application/json' "{\"code\":\"$2\"}")
    pat=$(printf '%s' "$answer" | member pat)
    [ -n "$pat" ] || { printf '%s\n' "$answer" >&2; exit 77; }
    (umask 077 && printf '%s\n' "$pat" >"$file")
    printf '%s\n' "$answer" | member agentId
    ;;
"list 1")
    open_session
    send GET /manifest "$session" | grep -o '"id":"[^"]*","source":"[^"]*","kind":"capability"' | sed 's/"id":"\([^"]*\)".*/\1/'
    ;;
"call 2" | "call 3" | "call 4")
    id=$2
    key=${4:+,\"idempotencyKey\":\"$4\"}
    open_session
    answer=$(send POST /invoke "$session" "{\"id\":\"$id\",\"input\":${3:-{\}}$key,\"onApproval\":\"run\",\"token\":false}")
    case $answer in
    *'"code":"approval_required"'*) ;;
    *) finish "$answer" '' ;;
    esac
    item=$(printf '%s' "$answer" | member pendingId)
    echo "waiting for the owner: $item" >&2
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        status=$(send GET "/grants/status?pendingId=$item&wait=60" "$session")
        case $status in
        *'"state":"approved"'*'"result":'*) finish "$status" '"result":' ;;
        *'"state":"pending"'*) ;;
        # The session that asked has ended: a live one is given the result.
        *'"state":"approved"'*) open_session ;;
        *) printf '%s\n' "$status" >&2; exit 77 ;;
        esac
    done
    exit 75
    ;;
*)
    sed -n 's/^# \{0,1\}//; 2,10p' "$0" >&2
    exit 64
    ;;
esac
