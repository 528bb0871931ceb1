#!/usr/bin/env bash
# The tarball, installed in "$1" without running any install script: the lock must work through its prebuilt binding,
# and exclude a process that locks through the compiled one of this checkout.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
room="$(cd "$1" && pwd)"
if [ -e "$room/node_modules/fs-ext/build/Release/fs_ext.node" ]; then
  echo 'fs-ext was compiled although install scripts were switched off' >&2
  exit 1
fi

cat >"$room/hold.mjs" <<'JS'
import { PsLock } from 'pslock'
const held = await new PsLock(process.argv[2]).acquire()
console.log('held')
process.stdin.once('data', () => held.release())
JS

cat >"$room/try.mjs" <<'JS'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'

const [checkout, room] = process.argv.slice(2)
const { PsLock: Compiled } = await import(pathToFileURL(`${checkout}/dist/index.js`))
const lock = new Compiled(`${room}/data`)
const holder = spawn(process.execPath, [`${room}/hold.mjs`, `${room}/data`], {
  cwd: room,
  env: { ...process.env, PSLOCK_BINDING: 'koffi' },
  stdio: ['pipe', 'pipe', 'inherit'],
})
await once(holder.stdout, 'data')
if (lock.tryAcquire()) throw new Error('two holders: the prebuilt binding does not exclude the compiled one')
holder.stdin.end('release\n')
await once(holder, 'exit')
const held = lock.tryAcquire()
if (!held) throw new Error('the lock of an ended process is still held')
held.release()
await lock.exclusive(() => {})
console.log('without a compiler: the lock works, and excludes a process that uses the compiled binding')
JS

(cd "$room" && PSLOCK_BINDING=fs-ext node "$room/try.mjs" "$here" "$room")
