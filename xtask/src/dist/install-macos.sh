system=Darwin app=Plexus.app file=$name.app.tar.gz usual=Applications
fits() { :; }
effect() { say "puts $app into $prefix. A $app that is there is kept as Plexus.previous."; }
place() { # by renames, which no signal cuts: the application is signed over all of its files
    bin=$prefix/$app/Contents/MacOS
    to=$prefix/$app before=$prefix/Plexus.previous new=$scratch/$name/$app
    for there in "$to" "$before"; do
        [ ! -e "$there" ] && [ ! -L "$there" ] || grep -q '>local.plexus.plexusd<' "$there/Contents/Info.plist" 2>/dev/null ||
            stop 1 "$there was not put there by Plexus: move it away, or choose another --prefix. Nothing was installed"
    done
    [ -d "$new" ] || stop 1 "$file holds no $app. Nothing was installed"
    mkdir -p "$prefix"
    trap '' HUP INT TERM
    older=$scratch/older
    if [ ! -e "$to" ]; then
        mv "$new" "$to"
    else
        [ ! -e "$before" ] || mv "$before" "$older"
        { mv "$to" "$before" && { mv "$new" "$to" || { mv "$before" "$to"; false; }; }; } ||
            { [ ! -e "$older" ] || mv "$older" "$before"; stop 1 "$to could not be replaced. Nothing was installed"; }
    fi
    signals_end
}
