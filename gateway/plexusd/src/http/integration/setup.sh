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
new="$file.plexus.new"
if grep -qF '{begin}' "$file"; then
    # What stood between the markers goes; what stands around them stays.
    awk -v begin='{begin}' \
        'index($0, begin) == 1 { exit } { print }' "$file" >"$new"
    printf '%s\n' "$block" >>"$new"
    awk -v end='{end}' 'past { print } index($0, end) == 1 { past = 1 }' "$file" >>"$new"
else
    { cat "$file"; [ ! -s "$file" ] || echo; printf '%s\n' "$block"; } >"$new"
fi
cat "$new" >"$file"
rm -f "$new"
echo "plexus: $file tells the agent to run $launcher"
echo "plexus: next, once, with the code that the owner has: $launcher enroll CODE"
