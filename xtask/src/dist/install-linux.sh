system=Linux file=$name.tar.gz usual=.local
is_at_least() { [ "${1%%.*}" -gt "${2%%.*}" ] || { [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${1#*.}" -ge "${2#*.}" ]; }; } # MAJOR.MINOR
fits() { # whether the programs run here
    found=$(getconf GNU_LIBC_VERSION 2>/dev/null || true)
    case $found in
    glibc\ [0-9]*.[0-9]*) is_at_least "${found#glibc }" "$glibc" || stop 1 "the programs need glibc $glibc or newer; this system has ${found#glibc }" ;;
    *) stop 1 "the programs need glibc $glibc or newer, and getconf names none here" ;;
    esac
}
effect() { say "puts Plexus under $prefix:" "  programs in bin and libexec/plexus; completions, manual pages and texts in share."; }
place() { # all that replaces something is done by the program, in one step that a signal does not cut
    bin=$prefix/bin
    "$scratch/$name/bin/plexusctl" place --prefix "$prefix"
}
