#!/bin/sh
# The `plexus` command of the agent {agent}, made by its gateway's installer.
home="$HOME/.plexus"
# Called by its own address in a state directory, it belongs to that one unless PLEXUS_HOME names another.
case "$0" in
/*/agents/{agent}/bin/plexus) home="${0%/agents/{agent}/bin/plexus}" ;;
esac
home="${PLEXUS_HOME:-$home}"
unset PLEXUS_PAT PLEXUS_GATEWAY PLEXUS_PROXY
export PLEXUS_PINNED=1 PLEXUS_AGENT_ID={agent} PLEXUS_HOME="$home"
exec "$home/bin/plexus" "$@"
