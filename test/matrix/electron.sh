#!/usr/bin/env bash
# The tarball in "$1" in the main process of Electron. Its binary comes from GitHub, so that the workflow runs this, and not .ci/run.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tarball="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
cd "$room"
printf '{ "name": "electron", "private": true, "type": "module", "main": "main.mjs" }\n' >package.json
npm install --no-audit --no-fund --loglevel error "$tarball" lowdb@7 @seald-io/nedb@4 nedb-promises@6 electron@39
cp "$here/app.mjs" .
cat >main.mjs <<'JS'
import { spawnSync } from 'node:child_process'
import { app } from 'electron'
import { works } from './app.mjs'

// The other process is plain Node, which Electron is as well.
const again = () =>
  String(
    spawnSync(process.execPath, ['app.mjs', 'data', 'other'], { env: { ...process.env, ELECTRON_RUN_AS_NODE: '1' } })
      .stdout,
  )
works('data', again).then(
  (said) => {
    console.log(said)
    app.exit(0)
  },
  (error) => {
    console.error(error)
    app.exit(1)
  },
)
JS
xvfb-run --auto-servernum node_modules/.bin/electron --no-sandbox . | grep -x works
