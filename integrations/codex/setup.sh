#!/bin/sh
# Sets Codex up on this machine: `plexus` and `plexusctl` on your PATH, and Codex connected as the agent `codex`.
#
#   sh integrations/codex/setup.sh [FLAGS OF plexusctl connect]      e.g. --allow workspace.read
#
# It changes nothing before you have said yes: each file that Codex would get is shown first. The same command again says what is
# there. `plexusctl disconnect codex` takes it back; the links in ~/.local/bin are yours to remove.
set -eu
umask go-w
root=$(cd "$(dirname "$0")/../.." && pwd)

# From your PATH, as the front door installs them; else what this repository has built.
find_program() {
    command -v "$1" && return
    for build in release debug; do
        if [ -x "$root/target/$build/$1" ]; then
            echo "$root/target/$build/$1"
            return
        fi
    done
    echo "no $1 here: build it first (cargo xtask start), or install it (cargo xtask install)" >&2
    exit 1
}

bin=$HOME/.local/bin
for name in plexus plexusctl; do
    program=$(find_program "$name")
    case $program in
    "$root"/*)
        mkdir -p "$bin"
        if [ -e "$bin/$name" ] && [ ! -L "$bin/$name" ]; then
            echo "$bin/$name is a file of yours: it stays" >&2
        else
            ln -sfn "$program" "$bin/$name"
            echo "$bin/$name -> $program"
        fi
        ;;
    esac
done
case ":$PATH:" in
*":$bin:"*) ;;
*) echo "put it on your PATH: export PATH=\"\$HOME/.local/bin:\$PATH\"" ;;
esac

plexusctl=$(find_program plexusctl)
exec "$plexusctl" connect codex --type codex --here "$@"
