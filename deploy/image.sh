#!/usr/bin/env bash
# The files of the container image: image.sh BIN_DIR DEST lays out DEST/{common,agent,aggregator,cli}, each a tree to copy to /.
# Run on a Debian (in the Dockerfile, or by `make image`): the image holds the C library that the programs were linked
# with, the certificates and time zones they look for, and no shell or package manager.
set -euo pipefail
bin=$1 dest=$2
common=$dest/common
rm -rf "$dest"
mkdir -p "$common"/{etc/ssl/certs,usr/share,lib,tmp}
chmod 1777 "$common/tmp"

for program in agent aggregator cli; do
  name=kansoku-$program
  [ "$program" != cli ] || name=kansoku
  mkdir -p "$dest/$program/bin"
  # The line tables of a release build are two thirds of it; symbols stay, for profilers.
  strip --strip-debug -o "$dest/$program/bin/$name" "$bin/$name"
  # Each library where the program looks for it, the loader among them.
  ldd "$bin/$name" | grep -o '/[^ ]*' | while read -r library; do
    install -D "$(realpath "$library")" "$common$library"
  done
done

cp -L /etc/ssl/certs/ca-certificates.crt "$common/etc/ssl/certs/"
cp -a /usr/share/zoneinfo "$common/usr/share/"
rm -rf "$common"/usr/share/zoneinfo/{posix,right}
cat >"$common/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/sbin/nologin
PASSWD
cat >"$common/etc/group" <<'GROUP'
root:x:0:
nogroup:x:65534:
nonroot:x:65532:
GROUP
# Names of hosts: files before DNS, as everywhere.
echo 'hosts: files dns' >"$common/etc/nsswitch.conf"
