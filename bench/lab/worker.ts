import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Candidate, lateGrants, type Release } from '../candidates/candidate.ts'
import { CANDIDATES, type CandidateName } from '../candidates/registry.ts'
import { nowMs } from './clock.ts'
import type { Contended, WaitingCommands } from './commands.ts'
import { Counter } from './counter.ts'

/** A process that takes locks as it is told. Driven by mate.ts; worker.py is the same in Python. */

/** How often to look at the clock when the lock is free each time. */
const BATCH = 50

let held: Release | undefined
const waits: Promise<void>[] = []

function candidate(name: string): Promise<Candidate> {
  return CANDIDATES[name as CandidateName].load()
}

/** Begins to wait; what is granted is given back at once. */
function begin(lock: Candidate, path: string): void {
  waits.push(lock.acquire(path).then((release) => release()))
}

/** How often a second, or undefined where there is no such form. */
async function alone(lock: Candidate, path: string, form: 'async' | 'sync', forMs: number) {
  const { acquireSync } = lock
  if (form === 'sync' ? !acquireSync : lock.isBlocking) return undefined
  const start = nowMs()
  let count = 0
  while (nowMs() - start < forMs) {
    for (let i = 0; i < BATCH; i++) {
      if (form === 'async') await (await lock.acquire(path))()
      else void acquireSync?.(path)()
    }
    count += BATCH
  }
  return (count / (nowMs() - start)) * 1000
}

async function contend(
  lock: Candidate,
  path: string,
  counter: Counter,
  endMs: number,
): Promise<Omit<Contended, 'endedAtMs'>> {
  const result = { count: 0, turns: 0, waitedMs: 0, longestMs: 0 }
  for (let asked = nowMs(); asked < endMs; asked = nowMs()) {
    const release = await lock.acquire(path)
    const waitedMs = nowMs() - asked
    const isTurn = counter.raise()
    await release()
    result.count++
    result.longestMs = Math.max(result.longestMs, waitedMs)
    if (!isTurn) continue
    result.turns++
    result.waitedMs += waitedMs
  }
  return result
}

type Answer<K extends keyof WaitingCommands> = Promise<ReturnType<WaitingCommands[K]>>

const commands: {
  [K in keyof WaitingCommands]: (...args: Parameters<WaitingCommands[K]>) => Answer<K>
} = {
  async load(lock) {
    await candidate(lock)
    return undefined
  },

  async acquire(lock, path) {
    held = await (await candidate(lock)).acquire(path)
    return nowMs()
  },

  async releaseAfter(ms) {
    await sleep(ms)
    const at = nowMs()
    await held?.()
    held = undefined
    return at
  },

  async alone(lock, path, form, forMs) {
    return alone(await candidate(lock), path, form, forMs)
  },

  async contend(lock, path, file, startAtMs, forMs) {
    const wanted = await candidate(lock)
    const counter = new Counter(file)
    await sleep(startAtMs - nowMs())
    const result = await contend(wanted, path, counter, startAtMs + forMs)
    counter.close()
    return { ...result, endedAtMs: nowMs() }
  },

  async idle(lock, path, warmUpMs, windowMs) {
    begin(await candidate(lock), path)
    await sleep(warmUpMs)
    // Nobody may send messages meanwhile: to receive one costs as much as some candidates' waiting.
    const before = process.cpuUsage()
    await sleep(windowMs)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  },

  async drained() {
    return (await Promise.all(waits.splice(0))).length
  },

  async readBeside(lock, path, count, file) {
    const wanted = await candidate(lock)
    for (let i = 0; i < count; i++) begin(wanted, path)
    await sleep(50)
    const start = nowMs()
    await readFile(file)
    return nowMs() - start
  },

  async giveUp(lock, path, afterMs) {
    const wanted = await candidate(lock)
    const givenUp = await wanted.acquire(path, AbortSignal.timeout(afterMs)).then(
      () => false,
      () => true,
    )
    if (!givenUp) throw new Error('the lock was granted: it was not held when the wait began')
  },

  async lateGrants() {
    return lateGrants()
  },
}

interface Request {
  readonly id: number
  readonly command: keyof WaitingCommands
  readonly args: unknown[]
}

async function serve({ id, command, args }: Request): Promise<void> {
  const run = commands[command] as (...args: unknown[]) => Promise<unknown>
  const reply = await run(...args).then(
    (value) => ({ id, value }),
    (error) => ({ id, error: error instanceof Error ? error.message : String(error) }),
  )
  process.stdout.write(`${JSON.stringify(reply)}\n`)
}

createInterface({ input: process.stdin })
  .on('line', (line) => void serve(JSON.parse(line)))
  // Whoever drives us is gone: a wait that is still open must not keep us.
  .on('close', () => process.kill(process.pid, 'SIGKILL'))
