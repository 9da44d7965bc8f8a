#!/bin/sh
# Installs Plexus for one person, without a compiler and without root. `sh install.sh --help` says how.
# Made by `cargo xtask dist`. The download has to have the digests below, or nothing is installed.
set -eu; umask go-w # another user who can write in a folder of programs replaces them
version='@VERSION@' kind='@KIND@' glibc='@GLIBC@'
from='@URL@'
sha256='@SHA256@'
signature_sha256='@SIGNATURE_SHA256@' # of the signature file; empty where the release is not signed
public_key='@PUBLIC_KEY@'             # minisign
name="plexus-$version-$kind"
usage() {
    say "Usage: sh install.sh [--prefix DIR] [--from ADDRESS] [--yes] [--root]" "" \
        "  --prefix DIR    install there instead of in ~/$usual" \
        "  --from ADDRESS  take the release from this URL or folder instead of $from" \
        "  --yes           do not ask" "  --root          install although you are root"
}
say() { printf '%s\n' "$@"; }
stop() { printf 'install.sh: %s\n' "$2" >&2; exit "$1"; }
have() { command -v "$1" >/dev/null 2>&1; }
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
@SYSTEM@
fetch() { # FILE, into the scratch folder
    case $from in
    http://* | https://*)
        if have curl; then
            curl -fsSL --connect-timeout 20 --speed-limit 1024 --speed-time 30 -o "$scratch/$1" "$from/$1"
        elif have wget; then
            wget -q -T 30 -t 2 -O "$scratch/$1" "$from/$1"
        else
            stop 1 "neither curl nor wget is here; download $file yourself and name its folder with --from"
        fi ;;
    *) cp "${from#file://}/$1" "$scratch/$1" ;;
    esac || stop 1 "$1 cannot be had from $from"
}
sum() { if have sha256sum; then sha256sum; else shasum -a 256; fi; }
check() { # FILE DIGEST
    [ "$(sum <"$scratch/$1")" = "$2  -" ] || stop 1 "$1 is not the file of this release: its SHA-256 is another. Nothing was installed"
}
check_signature() { # says which check was made; ends where the signature is not the key's
    bad="the signature of $file is not made with the key of this release. Nothing was installed"
    if have minisign; then
        minisign -Vqm "$scratch/$file" -P "$public_key" >/dev/null || stop 1 "$bad"
        say "Checked: SHA-256, and the signature with minisign."
    elif case $(openssl version 2>/dev/null || true) in "OpenSSL "[3-9]*) ;; *) false ;; esac &&
        openssl dgst -blake2b512 -binary -out "$scratch/hash" "$scratch/$file" 2>/dev/null; then
        { printf '\060\052\060\005\006\003\053\145\160\003\041\000' && printf %s "$public_key" | base64 -d | tail -c 32; } >"$scratch/key"
        sed -n 2p "$scratch/$file.minisig" | base64 -d | tail -c 64 >"$scratch/signature"
        openssl pkeyutl -verify -pubin -keyform DER -inkey "$scratch/key" -rawin -in "$scratch/hash" -sigfile "$scratch/signature" >/dev/null 2>&1 || stop 1 "$bad"
        say "Checked: SHA-256, and the signature with OpenSSL."
    else
        say "Checked: SHA-256. The signature is not checked: that takes minisign or OpenSSL 3, and neither is here."
    fi
}
signals_end() {
    trap 'exit 129' HUP && trap 'printf "\ninstall.sh: stopped\n" >&2; exit 130' INT && trap 'exit 143' TERM
}
main() {
    prefix=${HOME:?}/$usual yes='' root='' scratch=''
    while [ $# -gt 0 ]; do
        case $1 in --prefix | --from) [ $# -gt 1 ] || stop 64 "$1 takes a value" ;; esac
        case $1 in
        --prefix) prefix=$2 && shift ;;
        --from) from=${2%/} && shift ;;
        --yes) yes=1 ;;
        --root) root=1 ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && stop 64 "there is no $1" ;;
        esac
        shift
    done
    case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac
    [ "$(id -u)" != 0 ] || [ -n "$root" ] || stop 64 "you are root, and Plexus is installed for one person: run this as that person, or add --root"
    [ "$(uname -s)" = "$system" ] && [ "$(uname -m | sed 's/^arm64$/aarch64/')" = "${kind%%-*}" ] || stop 1 "this release is for $kind; this machine is $(uname -s) $(uname -m)"
    fits
    asks='' && [ -t 1 ] && (: </dev/tty) 2>/dev/null && asks=1
    say "This downloads $file from $from, checks it, and $(effect)" "It replaces no file that is not of Plexus."
    if [ -z "$yes" ]; then
        [ -n "$asks" ] || stop 64 "nobody can be asked here: add --yes"
        printf 'Go on? [y/N] ' && read -r answer </dev/tty
        case $answer in [yY]*) ;; *) stop 77 "nothing was installed" ;; esac
    fi
    # On the disk of the prefix: in the first folder above it that is there.
    near=$prefix && while [ ! -d "$near" ]; do near=$(dirname "$near"); done
    trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
    signals_end
    scratch=$(mktemp -d "$near/.plexus-install.XXXXXX") || stop 1 "no folder can be made in $near"
    fetch "$file"
    check "$file" "$sha256"
    if [ -n "$signature_sha256" ]; then
        fetch "$file.minisig"
        check "$file.minisig" "$signature_sha256"
        check_signature
    else
        say "Checked: SHA-256. This release is not signed."
    fi
    said=$(tar -xzof "$scratch/$file" -C "$scratch" 2>&1) ||
        stop 1 "$file cannot be unpacked in $near: $(say "$said" | sed 1q). Nothing was installed"
    place # sets bin
    plexusctl=$(quoted "$bin/plexusctl")
    case :$PATH: in
    *:"$bin":*) ;;
    *) say "" "Add to your shell's start file:" "  export PATH=$(quoted "$bin"):\"\$PATH\"" ;;
    esac
    say "" "To start the gateway now and with your login:" "  $plexusctl service install" "To take everything back:" "  $plexusctl uninstall" ""
    [ -z "$asks" ] || [ -n "$yes" ] || { trap : INT; "$bin/plexusctl" service install </dev/tty || true; }
}
main "$@"
