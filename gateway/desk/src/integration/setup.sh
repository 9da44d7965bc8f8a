#!/usr/bin/env bash
# Sets an agent that reads AGENTS.md up as the Plexus agent {agent}. Holds no credential, and takes no code.
set -euo pipefail
umask 077
home="${PLEXUS_HOME:-$HOME/.plexus}"
gateway="${PLEXUS_GATEWAY:-{base}}"
launcher="$home/agents/{agent}/bin/plexus"
mkdir -p "$home/agents"
chmod 700 "$home"

{launcher}
printf '%s\n' "$gateway" >"$home/gateway"

{engine}
file="${AGENTS_FILE:-$PWD/AGENTS.md}"
block=$(cat <<'PLEXUS_END_OF_FILE'
{block}PLEXUS_END_OF_FILE
)
block="${block//@PLEXUS@/"$launcher"}"
touch "$file"
# Not beside it: the maker of this folder could have put a link there that leads anywhere.
new=$(mktemp)
trap 'rm -f "$new"' EXIT
if grep -q '^{begin}' "$file"; then
    if ! awk -v begin='{begin}' -v end='{end}' \
        'index($0, begin) == 1 { in_it = 1 } in_it && index($0, end) == 1 { whole = 1 } END { exit !whole }' "$file"; then
        echo "plexus: $file has the line {begin} and no {end} below it: fix it, then run this again" >&2
        exit 1
    fi
    # What stood between the markers goes; what stands around them stays.
    awk -v begin='{begin}' \
        'index($0, begin) == 1 { exit } { print }' "$file" >"$new"
    printf '%s\n' "$block" >>"$new"
    awk -v begin='{begin}' -v end='{end}' \
        'past { print } index($0, begin) == 1 { in_it = 1 } in_it && index($0, end) == 1 { past = 1 }' "$file" >>"$new"
else
    { cat "$file"; [ ! -s "$file" ] || echo; printf '%s\n' "$block"; } >"$new"
fi
cat "$new" >"$file"
echo "plexus: $file tells the agent to run $launcher"
echo "plexus: next, once, with the code that the owner has: $launcher enroll CODE"
