import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { PsLock } from 'pslock'

// One config file, many command lines that edit it at the same time:
//
//   npx tsx examples/shared-config.ts config.json theme dark    sets a value
//   npx tsx examples/shared-config.ts config.json               prints them all

const [file = 'config.json', key, value] = process.argv.slice(2)
const lock = new PsLock(file)

function load(): Record<string, unknown> {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
}

if (key === undefined) {
  console.log(await lock.shared(load)) // together with other readers, never in the middle of a change
} else {
  await lock.exclusive(() => {
    const next = JSON.stringify({ ...load(), [key]: value }, undefined, 2) // read under the lock, not before
    writeFileSync(`${file}.tmp`, next)
    renameSync(`${file}.tmp`, file) // a crash leaves the old file or the new one, never half of one
  })
}
