/**
 * The candidates for waiting, measured against each other: in rounds, one after the other in each, since absolute times
 * mean nothing on a shared machine. See docs/decisions/waiting.md.
 */
import { table } from '../cli/base/table.ts'
import { random } from '../test/fixtures/random.ts'
import type { CandidateName } from './candidates/registry.ts'
import { contend } from './lab/contention.ts'
import { handOver } from './lab/hand-over.ts'
import { Lab, reasonOf, rotated, say, within } from './lab/lab.ts'
import { circumstances, markdown, writeMarked } from './lab/marked.ts'
import type { Mate } from './lab/mate.ts'
import { labOptions } from './lab/options.ts'
import { exitAfterTimeout } from './waiting/exit.ts'
import { canBeCancelled, idleCpu, readBesideWaits } from './waiting/measures.ts'
import { isVoid, type Waiting, waitingRows } from './waiting/report.ts'

const WAYS: readonly CandidateName[] = [
  'pslock',
  'polling',
  'ofd-turnstile',
  'flock-child',
  'fs-ext-async',
  'proper-lockfile',
]
const HAND_OVERS_A_ROUND = 15
/** No measure takes as long, but one that hangs. */
const HANGS_MS = 120_000

const options = labOptions('bench:waiting', WAYS, 'docs/decisions/waiting.md')
const where = circumstances()
const next = random(options.seed)
/** A hold time that no pace of asking is in step with. */
const around = (ms: number) => ms * (0.75 + next() / 2)

const lab = new Lab()

async function available(mate: Mate): Promise<Waiting[]> {
  const found: Waiting[] = []
  for (const name of WAYS) {
    if (options.only && !options.only.includes(name)) continue
    try {
      await mate.call('load', name)
      found.push({ name, handOverMs: { 5: [], 50: [] }, idlePercent: [], crowds: [], readMs: [] })
    } catch (error) {
      say(`left out: ${name} (${reasonOf(error)})`)
    }
  }
  return found
}

async function measure(result: Waiting, crew: readonly Mate[], isLast: boolean): Promise<void> {
  const { name } = result
  const path = lab.path(name)
  const [holder, waiter] = crew as readonly [Mate, Mate]
  const step = <T>(what: string, run: Promise<T>) => within(`${name}, ${what}`, HANGS_MS, run)
  for (const holdMs of [5, 50] as const) {
    for (let i = 0; i < HAND_OVERS_A_ROUND; i++) {
      const ms = await step('hand-over', handOver(holder, waiter, name, path, around(holdMs)))
      result.handOverMs[holdMs].push(ms)
    }
  }
  result.idlePercent.push(await step('idle', idleCpu(holder, crew.slice(1), name, path)))
  result.crowds.push(await step('crowd', contend(crew, name, path, options.seconds * 1000)))
  if (isVoid(result)) return
  result.readMs.push(await step('readFile', readBesideWaits(lab, holder, name, path)))
  if (!isLast) return
  // These are facts rather than figures: once is enough.
  result.cancels = await step('cancel', canBeCancelled(holder, waiter, name, path))
  result.exitMs = await step('exit', exitAfterTimeout(holder, name, path, 'return'))
  result.processExitMs = await step('process.exit', exitAfterTimeout(holder, name, path, 'exit'))
}

try {
  say(`seed ${options.seed}; starting ${options.procs} processes`)
  const crew = await lab.start(options.procs, 'node', 'none')
  const results = await available(crew[0] as Mate)
  for (const { name } of results) await Promise.all(crew.map((mate) => mate.call('load', name)))
  const control = await contend(crew, 'none', lab.path('none'), 1000)
  if (control.lost === 0) throw new Error('the control without a lock lost nothing: the counts prove nothing')
  for (let round = 0; round < options.rounds; round++) {
    for (const result of rotated(results, round)) {
      if (isVoid(result)) continue
      say(`round ${round + 1}/${options.rounds}: ${result.name}`)
      await measure(result, crew, round === options.rounds - 1)
    }
  }
  const rows = waitingRows(results, options.procs)
  const how =
    `${options.procs} processes for ${options.seconds} s, rounds: ${options.rounds}, seed ${options.seed}; every count ` +
    `checked, where the control without a lock lost ${control.lost} of ${control.count}; ${where}`
  if (options.json) console.log(JSON.stringify({ how, control, results }, null, 2))
  else console.log(`${table(rows, { right: [1, 2, 3, 4, 5, 6, 7] })}\n\n${how}`)
  if (results.some(isVoid)) process.exitCode = 1
  else if (options.write) writeMarked('docs/decisions/waiting.md', 'waiting', `${markdown(rows)}\n\n(${how})`)
} finally {
  await lab.close()
}
