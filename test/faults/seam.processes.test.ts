import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { Call } from '../fixtures/faults/call.ts'
import { underSeam, useLab } from '../fixtures/faults/lab.ts'
import { Files } from '../fixtures/faults/scenario.ts'
import { scenarioOf } from '../fixtures/faults/scenarios.ts'
import { has } from '../fixtures/lowdb-tools.ts'

/** The system calls that change something, read, or lock, by the names that the seam has for them. */
const NAMES: Record<string, string> = {
  openat: 'open',
  pread64: 'read',
  pwrite64: 'write',
  pwritev: 'writev',
  renameat: 'rename',
  renameat2: 'rename',
  linkat: 'link',
  unlinkat: 'unlink',
}
const KINDS = [
  ...[
    'open',
    'close',
    'read',
    'write',
    'writev',
    'fsync',
    'fdatasync',
    'ftruncate',
    'rename',
    'link',
    'unlink',
  ],
  ...['flock', 'fchmod', 'fchown'],
]

/** Every call that the kernel has seen is one that the seam has counted: none can happen behind its back. */
describe('the seam of the fault lab', () => {
  const at = useLab()

  before(function () {
    if (has('strace', '-qq', '-o', '/dev/null', 'true')) return
    console.log('        skipped: no strace')
    this.skip()
  })

  function seenByKernel(trace: string, folder: string): string[] {
    const begun = new Map<string, string>()
    const seen: string[] = []
    for (const line of trace.split('\n')) {
      const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
      if (text.endsWith('<unfinished ...>')) {
        begun.set(pid, text)
        continue
      }
      const call = text.startsWith('<... ') ? `${begun.get(pid)} ${text}` : text
      const [, name = ''] = /^(\w+)\(/.exec(call) ?? []
      const kind = NAMES[name] ?? name
      // The first path is that of the descriptor, or of the call itself; `openat` begins with the working directory.
      const path = [...call.matchAll(/[<"]([^<>"]+)[>"]/g)]
        .map((match) => match[1] as string)
        .find((found) => found.startsWith(folder))
      if (path !== undefined && KINDS.includes(kind)) seen.push(`${kind} ${basename(path)}`)
    }
    return seen
  }

  /** What is done, or not, by the time that passes is left out there too. */
  const isByTime = (call: string) => call.endsWith('.turn') || /^(read|write) .*\.lock$/.test(call)

  /** To the kernel a temp file that was renamed is called by its new name, also where it is a descriptor that is meant. */
  const withoutTemp = (call: string) => call.replace('~', '').replace(/\.(store|dump)\..*pslock\.tmp$/, '$1')

  for (const name of [
    'nedb: creation, durable',
    'nedb: torn tail, durable',
    'nedb: batch of 100, 90 kB, durable',
    'nedb: compaction',
    'nedb: dump',
    'lowdb: update, durable',
    'lowdb: dump',
    'lowdb: sync: update, durable',
  ]) {
    it(`counts what strace sees of ${name}`, async () => {
      const files = new Files(at(name))
      mkdirSync(files.folder)
      await (await scenarioOf(name)).prepare(files)
      const tracer = ['-f', '-y', '-qq', '-o', at('trace'), '-e', 'trace=file,desc']
      const args = [process.execPath, ...underSeam('counting', files.folder, name)]
      const counted = JSON.parse(execFileSync('strace', [...tracer, ...args], { encoding: 'utf8' })) as Call[]
      const calls = counted
        .filter((call) => KINDS.includes(call.name))
        .map((call) => `${call.name} ${basename(call.path)}`)
      const seen = seenByKernel(readFileSync(at('trace'), 'utf8'), files.folder).filter(
        (call) => !isByTime(call),
      )
      assert.ok(calls.length > 10)
      assert.deepEqual(seen.map(withoutTemp).sort(), calls.map(withoutTemp).sort())
    })
  }
})
