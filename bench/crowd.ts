/**
 * Many new processes on one file, as users meet them: the first operations of each, all at once, beside better-sqlite3
 * (WAL; FULL where inserts are durable) in the same run. With the addon and without it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ROOT } from '../test/fixtures/code.ts'
import { Lab, rotated } from './lab/lab.ts'
import { circumstances } from './lab/marked.ts'
import { inRounds, report, roundOptions } from './lab/rounds.ts'
import { median } from './lab/statistics.ts'

const PROCESSES = 50

const options = roundOptions('bench:crowd', 3)

const WORK = {
  insert: { title: 'insert, 400 each', what: 'insert', operations: 400, pauseMs: 0 },
  inc: { title: '`$inc` of one counter, 400 each', what: 'inc', operations: 400, pauseMs: 0 },
  find: { title: 'find by `_id`, 400 each', what: 'find', operations: 400, pauseMs: 0 },
  pauses: { title: 'insert, 5 ms between two, 100 each', what: 'insert', operations: 100, pauseMs: 5 },
  durable: { title: 'durable insert, 100 each', what: 'durable', operations: 100, pauseMs: 0 },
  transaction: {
    title: 'transaction of 10 inserts, 40 each',
    what: 'transaction',
    operations: 40,
    pauseMs: 0,
  },
} as const
type Work = keyof typeof WORK

/** Who is measured, and by which binding. */
const PEERS = { sqlite: '', [options.binding]: options.binding, native: 'native' }

/** What all processes of one run did together. */
interface Ran {
  readonly perSecond: number
  readonly longestMs: number
  readonly cpuUs: number
}

/** What one process tells of itself. */
interface Told {
  readonly from: number
  readonly to: number
  readonly longestMs: number
  readonly cpuMs: number
}

const lab = new Lab()
const machine = circumstances()

async function next<T>(child: ChildProcess): Promise<T> {
  const [message] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`a process ended with ${code}`))),
  ])) as [T]
  return message
}

async function ran(peer: string, work: Work, round: number): Promise<Ran> {
  const { what, operations, pauseMs } = WORK[work]
  const file = lab.path(`${peer}-${work}-${round}`)
  const start = (many: number) =>
    fork(join(ROOT, 'bench/crowd/process.cjs'), [peer, what, String(many), String(pauseMs), file], {
      env: { ...process.env, NODE_OPTIONS: '', PSLOCK_BINDING: peer === 'sqlite' ? '' : peer },
    })
  // One makes the file, and later one counts.
  const only = async () => {
    const child = start(0)
    const { count } = await next<{ count: number }>(child)
    child.send('go')
    await once(child, 'exit')
    return count
  }
  const before = await only()
  const children = Array.from({ length: PROCESSES }, () => start(operations))
  await Promise.all(children.map((child) => next(child)))
  const told = Promise.all(children.map((child) => next<Told>(child)))
  for (const child of children) child.send('go')
  const all = await told
  const done = PROCESSES * operations
  const records = { find: 0, transaction: 10 * done, insert: done, inc: done, durable: done }[what]
  if ((await only()) - before !== records) throw new Error(`${peer} ${work}: some are missing`)
  const seconds = (Math.max(...all.map(({ to }) => to)) - Math.min(...all.map(({ from }) => from))) / 1000
  return {
    perSecond: done / seconds,
    longestMs: Math.max(...all.map(({ longestMs }) => longestMs)),
    cpuUs: (all.reduce((sum, { cpuMs }) => sum + cpuMs, 0) * 1000) / done,
  }
}

const found = new Map<string, Ran[]>()
await inRounds(options, async (round) => {
  for (const work of Object.keys(WORK) as Work[])
    for (const peer of rotated(Object.keys(PEERS), round)) {
      const key = `${peer} ${work}`
      found.set(key, [...(found.get(key) ?? []), await ran(peer, work, round)])
    }
})

const of = (peer: string, work: Work, what: keyof Ran) =>
  median((found.get(`${peer} ${work}`) ?? []).map((each) => each[what]))

const rows = [
  [
    `${PROCESSES} new processes`,
    '',
    'ops/s',
    'by better-sqlite3',
    'longest wait, ms',
    'CPU of an operation, us',
  ],
  ...(Object.keys(WORK) as Work[]).flatMap((work) =>
    Object.keys(PEERS).map((peer, i) => [
      i === 0 ? WORK[work].title : '',
      peer === 'sqlite' ? 'better-sqlite3' : peer === 'native' ? 'pslock with @pslock/native' : 'pslock',
      of(peer, work, 'perSecond').toFixed(0),
      `${(of(peer, work, 'perSecond') / of('sqlite', work, 'perSecond')).toFixed(2)}x`,
      of(peer, work, 'longestMs').toFixed(0),
      of(peer, work, 'cpuUs').toFixed(0),
    ]),
  ),
]
const how = `\`npm run bench:crowd\`, medians of ${options.rounds} rounds, binding ${options.binding}, or the addon; processes just started; counts checked; ${machine}`

report('crowd', rows, [2, 3, 4, 5], how, { found: Object.fromEntries(found) }, options)
