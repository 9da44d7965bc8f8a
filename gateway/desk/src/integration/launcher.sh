#!/bin/sh
# The `plexus` command of the agent {agent}, made by its gateway's installer.
home="${PLEXUS_HOME:-$HOME/.plexus}"
unset PLEXUS_PAT PLEXUS_GATEWAY PLEXUS_PROXY
export PLEXUS_PINNED=1 PLEXUS_AGENT_ID={agent} PLEXUS_HOME="$home"
exec "$home/bin/plexus" "$@"
