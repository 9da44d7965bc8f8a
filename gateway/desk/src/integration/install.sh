#!/usr/bin/env bash
# Sets Claude Code up as the Plexus agent {agent}. Holds no credential: a one-time code comes in PLEXUS_ENROLL_CODE.
set -euo pipefail
scope="${PLEXUS_CC_SCOPE:-local}"
case "$scope" in
    local | project) ;;
    *)
        echo "plexus: PLEXUS_CC_SCOPE is local or project: the plugin is for this folder, never for the whole machine" >&2
        exit 64
        ;;
esac
umask 077
home="${PLEXUS_HOME:-$HOME/.plexus}"
gateway="${PLEXUS_GATEWAY:-{base}}"
plugin="$home/plugins/plexus@{agent}"
mkdir -p "$home/agents" "$plugin"
chmod 700 "$home"

{files}
printf '%s\n' "$gateway" >"$home/gateway"

{engine}
code="${PLEXUS_ENROLL_CODE:-}"
unset PLEXUS_ENROLL_CODE PLEXUS_GATEWAY
if [ -n "$code" ] && [ -e "$home/agents/{agent}.pat" ]; then
    echo "plexus: {agent} has a credential here; it is kept, and the code is not used"
elif [ -n "$code" ]; then
    scratch="$home/agents/{agent}.enroll"
    printf '%s\n' "$code" >"$scratch"
    chmod 600 "$scratch"
    if PLEXUS_HOME="$home" PLEXUS_ENROLL_CODE="$(cat "$scratch")" "$plugin/bin/plexus" enroll; then
        rm -f "$scratch"
    else
        echo "plexus: not enrolled; the code is in $scratch. When the gateway answers: $plugin/bin/plexus enroll \$(cat $scratch)" >&2
        exit 1
    fi
fi

if command -v claude >/dev/null; then
    claude plugin marketplace add "$plugin"
    claude plugin install plexus@plexus --scope "$scope"
    echo "plexus: Claude Code runs plexus-{agent} in new sessions in $PWD"
else
    echo "plexus: Claude Code is not on the PATH; later, in the folder that it works in:"
    echo "  claude plugin marketplace add $plugin && claude plugin install plexus@plexus --scope $scope"
fi
