#!/bin/sh
# A release from its install.sh to the first approved write, in a bare Debian without a compiler; a changed byte is refused.
# Usage, as root: sh tests/in-debian.sh SUITE DIST, where DIST is what `cargo xtask dist --key FILE --url http://127.0.0.1:8099`
# made. Takes mmdebstrap, python3 and a mirror of Debian. Prints the time from the script to the write, which may be 60 s.
set -eu
suite=$1 dist=$(cd "$2" && pwd) port=8099
tree=$(mktemp -d) web=
ends() { [ -z "$web" ] || kill "$web"; rm -rf --one-file-system "$tree"; }
trap ends EXIT
mmdebstrap --quiet --variant=minbase --include=ca-certificates,openssl,curl "$suite" "$tree/suite.tar"
mkdir "$tree/root" && tar -xf "$tree/suite.tar" -C "$tree/root" --exclude='./dev/*'
for program in cc gcc ld cargo rustc; do
    [ ! -e "$tree/root/usr/bin/$program" ] || { echo "$program is there" >&2; exit 1; }
done
chroot "$tree/root" useradd --create-home anna
cat >"$tree/root/home/anna/day" <<'DAY'
set -eu
cd
began=$(date +%s%N)
sh install.sh --yes
bin=$HOME/.local/bin
owner="$bin/plexusctl --i-am-the-owner"
mkdir shared
"$bin/plexusd" --port 0 >ready 2>said &
until grep -q PLEXUS_READY ready; do kill -0 $! || { cat said; exit 1; }; done
$owner sources add workspace-dir "$HOME/shared" --id desk
code=$($owner --json connect first --allow desk.read | sed 's/.*"code":"\([^"]*\)".*/\1/')
"$bin/plexus" enroll "$code"
"$bin/plexus" desk.write path=hello.md content=Hello --wait 0 && { echo "nobody was asked" >&2; exit 1; }
[ ! -e shared/hello.md ]
until card=$($owner --json approvals list) && case $card in *previewDigest*) ;; *) false ;; esac; do :; done
item=$(printf %s "$card" | grep -o 'pend_[0-9a-f-]*' | head -n 1)
$owner approvals approve "$item" --card "$(printf %s "$card" | sed 's/.*"cardDigest":"\([^"]*\)".*/\1/')"
"$bin/plexus" desk.write path=hello.md content=Hello
[ "$(cat shared/hello.md)" = Hello ]
took=$((($(date +%s%N) - began) / 1000000))
kill $! && wait $! || true
"$bin/plexusctl" uninstall --yes
[ -z "$(find "$HOME/.local" -type f)" ]
echo "approved write after $took ms"
[ "$took" -le 60000 ]
DAY
as_anna() {
    unshare --mount --pid --fork --kill-child sh -c "mount --rbind /dev '$tree/root/dev' && mount -t proc proc '$tree/root/proc' &&
        exec chroot --userspec=anna '$tree/root' env -i HOME=/home/anna USER=anna PATH=/usr/bin:/bin $*"
}
mkdir "$tree/web" && cp "$dist"/plexus-* "$tree/web" && cp "$dist/install.sh" "$tree/root/home/anna"
python3 -m http.server "$port" --bind 127.0.0.1 --directory "$tree/web" >"$tree/web.log" 2>&1 &
web=$!
until curl -sf "http://127.0.0.1:$port/" >/dev/null; do kill -0 "$web"; done

for tarball in "$tree/web"/*.tar.gz; do
    printf '\001' | dd of="$tarball" bs=1 seek=5000 conv=notrunc status=none
    if as_anna sh /home/anna/install.sh --yes; then echo "a changed byte was installed" >&2; exit 1; fi
    [ ! -e "$tree/root/home/anna/.local" ]
    cp "$dist/${tarball##*/}" "$tarball"
done
as_anna sh /home/anna/day
