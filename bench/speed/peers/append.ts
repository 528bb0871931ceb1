import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { PsLock } from 'pslock'
import { ROOT } from '../../../test/fixtures/code.ts'
import type { Contents, Peer, Store } from '../store.ts'
import { lockedBy } from './proper-lockfile.ts'

/** 100 bytes, which every lock lets its holder append. */
const LINE = `${'x'.repeat(99)}\n`

/** Appends a line under a lock, and nothing else. */
function appending(lockOf: (path: string) => { locked(run: () => void): unknown; close(): unknown }): Peer {
  return {
    prepare,
    open(path): Store {
      const fd = openSync(path, 'a')
      const lock = lockOf(path)
      return {
        append: () => lock.locked(() => writeSync(fd, LINE)),
        async close() {
          await lock.close()
          closeSync(fd)
        },
      }
    },
    contents: lines,
  }
}

function prepare(path: string, records: number): void {
  writeFileSync(path, LINE.repeat(records))
}

/** Piece by piece: what C appends in some ten seconds is too long for one text. */
function lines(path: string): Contents {
  const whole = Buffer.from(LINE.repeat(10_000))
  const piece = Buffer.alloc(whole.length)
  const fd = openSync(path, 'r')
  try {
    let bytes = 0
    for (let got = whole.length; got === whole.length; bytes += got) {
      got = readSync(fd, piece, 0, piece.length, bytes)
      const isWhole = got % LINE.length === 0 && piece.subarray(0, got).equals(whole.subarray(0, got))
      if (!isWhole) throw new Error(`there are torn lines behind byte ${bytes}`)
    }
    return { records: bytes / LINE.length, increments: 0 }
  } finally {
    closeSync(fd)
  }
}

export const psLockAppend: Peer = appending((path) => {
  const lock = new PsLock(path, { timeoutMs: 60_000 })
  return { locked: (run) => lock.exclusive(run), close: () => lock.close() }
})

export const psLockAppendSync: Peer = appending((path) => {
  const lock = new PsLock(path, { timeoutMs: 60_000 })
  return { locked: (run) => lock.exclusiveSync(run), close: () => lock.close() }
})

/** Blocks in the kernel. @throws Error where fs-ext is not installed */
export async function fsExtAppend(): Promise<Peer> {
  const { acquireSync } = await import('../../candidates/fs-ext.ts')
  return appending((path) => ({
    locked(run) {
      const release = acquireSync(path)
      run()
      release()
    },
    close() {},
  }))
}

export const lockfileAppend: Peer = appending((path) => ({
  locked: (run) => lockedBy(path, run),
  close() {},
}))

/** What there is to win at all: a C program of flock(2) and write(2). @throws Error where no C compiler is there */
export function flockAppend(): Peer {
  execFileSync('cc', ['--version'], { stdio: 'ignore' })
  const program = (path: string) => join(dirname(path), 'flock-append')
  return {
    prepare(path, records) {
      prepare(path, records)
      execFileSync('cc', ['-O2', '-o', program(path), join(ROOT, 'bench/flock-append.c')])
    },

    open: (path) => ({
      async alone(startAtMs, forMs) {
        const child = spawn(program(path), [path, String(startAtMs), String(forMs)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        const bytes = await buffer(child.stdout)
        const [atHalf, atEnd, ...waitsMs] = new Float64Array(
          bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
        )
        if (atHalf === undefined || atEnd === undefined) throw new Error('flock-append failed')
        return { operations: waitsMs.length, atHalf, atEnd, waitsMs }
      },
      close() {},
    }),

    contents: lines,
  }
}
