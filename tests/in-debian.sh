#!/bin/sh
# A release to the first approved write, in a bare Debian without a compiler: by its install.sh, then by its package. A changed
# byte is refused, and both ways take away all that they brought.
# Usage, as root: sh tests/in-debian.sh SUITE DIST, where DIST is what `cargo xtask dist --key FILE --url http://127.0.0.1:8099`
# made. Takes mmdebstrap, curl, python3 and a mirror of Debian. Prints the time to each write, which may be 60 s.
set -eu
suite=$1 dist=$(cd "$2" && pwd) port=8099
tree=$(mktemp -d) web=
# What is mounted is so in a namespace of its own, which ends with its process: here these folders are empty.
ends() { [ -z "$web" ] || kill "$web" 2>/dev/null || :; rm -rf --one-file-system "$tree"; }
trap ends EXIT
trap 'exit 130' INT && trap 'exit 143' TERM
fails() { echo "in-debian.sh: $1" >&2; exit 1; }
mmdebstrap --quiet --variant=minbase --include=ca-certificates,openssl,curl "$suite" "$tree/suite.tar"
mkdir "$tree/root" && tar -xf "$tree/suite.tar" -C "$tree/root" --exclude='./dev/*'
for program in cc gcc ld cargo rustc; do
    [ ! -e "$tree/root/usr/bin/$program" ] || fails "$program is there"
done
chroot "$tree/root" useradd --create-home anna
cat >"$tree/root/home/anna/day" <<'DAY'
set -eu
cd
began=$(date +%s%N)
bin=${1-$HOME/.local/bin}
[ $# -gt 0 ] || sh install.sh --yes
owner="$bin/plexusctl --i-am-the-owner"
mkdir -p shared
"$bin/plexusd" --port 0 >ready 2>said &
gateway=$!
goes_on() { kill -0 "$gateway" && [ $((($(date +%s%N) - began) / 1000000)) -le 60000 ] || { cat said >&2; exit 1; }; }
until grep -q PLEXUS_READY ready; do goes_on; done
$owner sources add workspace-dir "$HOME/shared" --id desk
code=$($owner --json connect first --allow desk.read | sed 's/.*"code":"\([^"]*\)".*/\1/')
"$bin/plexus" enroll "$code"
"$bin/plexus" desk.write path=hello.md content=Hello --wait 0 && { echo "nobody was asked" >&2; exit 1; }
[ ! -e shared/hello.md ]
until card=$($owner --json approvals list) && case $card in *previewDigest*) ;; *) false ;; esac; do goes_on; done
item=$(printf %s "$card" | grep -o 'pend_[0-9a-f-]*' | head -n 1)
$owner approvals approve "$item" --card "$(printf %s "$card" | sed 's/.*"cardDigest":"\([^"]*\)".*/\1/')"
"$bin/plexus" desk.write path=hello.md content=Hello
[ "$(cat shared/hello.md)" = Hello ]
goes_on
took=$((($(date +%s%N) - began) / 1000000))
kill "$gateway" && wait "$gateway" || :
"$bin/plexusctl" uninstall --yes
[ ! -d "$HOME/.local" ] || [ -z "$(find "$HOME/.local" -type f)" ]
rm -r shared .plexus
echo "approved write after $took ms, by $bin"
DAY
as_anna() {
    unshare --mount --pid --fork --kill-child sh -c "mount --rbind /dev '$tree/root/dev' && mount -t proc proc '$tree/root/proc' &&
        exec chroot --userspec=anna '$tree/root' env -i HOME=/home/anna USER=anna PATH=/usr/bin:/bin $*"
}
mkdir "$tree/web" && cp "$dist"/plexus-* "$tree/web" && cp "$dist/install.sh" "$tree/root/home/anna"
echo "$tree" >"$tree/web/tree"
python3 -m http.server "$port" --bind 127.0.0.1 --directory "$tree/web" >"$tree/web.log" 2>&1 &
web=$!
until [ "$(curl -s "http://127.0.0.1:$port/tree")" = "$tree" ]; do
    kill -0 "$web" 2>/dev/null || fails "nothing can be served on port $port"
done

for tarball in "$tree/web"/*.tar.gz; do
    byte=$(dd if="$tarball" bs=1 skip=5000 count=1 status=none | od -An -tu1)
    printf "\\$(printf %o $(((byte + 1) % 256)))" | dd of="$tarball" bs=1 seek=5000 conv=notrunc status=none
    if as_anna sh /home/anna/install.sh --yes 2>"$tree/refused"; then fails "a changed byte was installed"; fi
    grep -q 'its SHA-256 is another' "$tree/refused" || fails "it was refused otherwise: $(cat "$tree/refused")"
    [ ! -e "$tree/root/home/anna/.local" ] || fails "the refused release left something"
    cp "$dist/${tarball##*/}" "$tarball"
done
as_anna sh /home/anna/day

cp "$dist"/plexus_*.deb "$tree/root/plexus.deb"
find "$tree/root/usr" -not -type d | sort >"$tree/before"
chroot "$tree/root" dpkg --install /plexus.deb
as_anna sh /home/anna/day /usr/bin
chroot "$tree/root" dpkg --remove plexus
find "$tree/root/usr" -not -type d | sort | diff "$tree/before" -
