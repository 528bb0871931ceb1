#!/usr/bin/env bash
# The tarball in "$1", tested by Jest in ESM mode and by vitest with `vmForks`: both run tests in contexts of their own.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tarball="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
cd "$room"
printf '{ "name": "runners", "private": true, "type": "module" }\n' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel error \
  "$tarball" lowdb@7 @seald-io/nedb@4 nedb-promises@6 jest@29 vitest@3
cp "$here/suite.mjs" .
cat >vitest.config.mjs <<'JS'
export default { test: { pool: 'vmForks', globals: true, include: ['suite.mjs'] } }
JS
NODE_OPTIONS=--experimental-vm-modules node_modules/.bin/jest --ci --testMatch '**/suite.mjs' --transform '{}'
node_modules/.bin/vitest run
