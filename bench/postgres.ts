/**
 * Stores on a server by plain statements of `pg`, client and server on this machine: all in one run, in turns. Each count is
 * compared with what is there afterwards.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { table } from '../cli/base/table.ts'
import { ROOT } from '../test/fixtures/code.ts'
import { startServer, type TestServer } from '../test/harness/postgres.ts'
import { Lab, rotated, say } from './lab/lab.ts'
import { circumstances, markdown, writeMarked } from './lab/marked.ts'
import { roundOptions } from './lab/rounds.ts'
import { median, sum } from './lab/statistics.ts'

/** For each process, which share the processors: V8 optimises what has run often. */
const WARM_MS = 1500
const FOR_MS = 2500
const DOCUMENTS = 100_000

type Operation = 'insert' | 'own' | 'shared' | 'find' | 'held'

interface Measure {
  readonly title: string
  readonly operation: Operation
  readonly processes: number
  readonly inFlight: number
  /** One way, in milliseconds. */
  readonly delayMs?: number
  readonly target: number | undefined
}

const crowd = (processes: number): Measure[] => [
  { title: 'insert', operation: 'insert', processes, inFlight: 1, target: 0.6 },
  { title: '`$inc` by `_id`, each its own', operation: 'own', processes, inFlight: 1, target: 0.4 },
  { title: '`$inc` by `_id`, one of all', operation: 'shared', processes, inFlight: 1, target: 0.4 },
  { title: 'find by `_id`', operation: 'find', processes, inFlight: 1, target: 0.5 },
  { title: 'read and update in a transaction', operation: 'held', processes, inFlight: 1, target: 0.6 },
]
const DELAYED = { processes: 1, inFlight: 16, delayMs: 1, target: 2 } as const
const MEASURES: Measure[] = [
  ...crowd(1),
  ...crowd(10),
  { title: 'insert', operation: 'insert', ...DELAYED },
  { title: '`$inc` by `_id`, each its own', operation: 'own', ...DELAYED },
]

const options = roundOptions('bench:postgres', 3)
const machine = circumstances()
const lab = new Lab()
const server = await startServer()

/** Passes everything on, later: a network with a round trip. */
async function delayed(to: TestServer, delayMs: number): Promise<{ url: string; close(): void }> {
  const proxy = createServer({ noDelay: true }, (client) => {
    const backend = createConnection(to.port, '127.0.0.1').setNoDelay()
    for (const socket of [client, backend])
      socket.on('error', () => {}).on('close', () => [client, backend].map((one) => one.destroy()))
    client.on('data', (bytes) => setTimeout(() => backend.write(bytes), delayMs))
    backend.pipe(client)
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  const url = new URL(to.url)
  url.port = String((proxy.address() as { port: number }).port)
  return { url: url.href, close: () => proxy.close() }
}

async function answer<T>(child: ChildProcess): Promise<T> {
  const [message] = await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => Promise.reject(new Error('a process of the benchmark has ended'))),
  ])
  return message as T
}

let stores = 0

/** @returns operations a second */
async function measure(who: string, { operation, processes, inFlight, delayMs }: Measure): Promise<number> {
  const name = `bench${++stores}`
  const proxy = delayMs === undefined ? undefined : await delayed(server, delayMs)
  const url = proxy?.url ?? server.url
  const script = join(ROOT, 'bench/postgres/worker.mjs')
  await server.sql('create table if not exists plain (id text primary key, doc jsonb); truncate plain')
  const ids = ['shared', ...Array.from({ length: processes }, (_, i) => `own ${i}`)]
  await server.sql(ids.map((id) => `insert into plain values ('${id}', '{"n":0}')`).join(';'))
  if (who === 'pslock') {
    const { LockedNedb } = await import('../adapters/nedb.ts')
    const db = new LockedNedb({ url: server.url, name, autoload: true })
    await db.insertAsync(ids.map((_id) => ({ _id, n: 0 })))
    await db.close()
  }
  const children = Array.from({ length: processes }, (_, i) =>
    fork(script, [who, url, name, String(i)], { execArgv: [] }),
  )
  await Promise.all(children.map((child) => answer(child)))
  const run = async (forMs: number) => {
    const answers = children.map((child) => answer<{ count: number; ms: number }>(child))
    for (const child of children) child.send({ operation, forMs, inFlight })
    return Promise.all(answers)
  }
  const warm = await run(WARM_MS * processes)
  const done = await run(FOR_MS)
  const ended = children.map((child) => once(child, 'exit'))
  for (const child of children) child.send({})
  await Promise.all(ended)
  proxy?.close()
  const total = sum([...warm, ...done].map(({ count }) => count))
  await requireCount(who, name, operation, total, ids.length)
  return sum(done.map(({ count, ms }) => (count / ms) * 1000))
}

async function requireCount(who: string, name: string, operation: Operation, total: number, others: number) {
  if (operation === 'find') return
  const rows =
    who === 'pslock'
      ? `(select d.line::jsonb as doc from pslock.doc d join pslock.store s on s.id = d.store where s.name = '${name}')`
      : 'plain'
  const what = operation === 'insert' ? `count(*) - ${others}` : `sum((doc->>'n')::int)`
  const [[found] = []] = await server.sql(`select ${what} from ${rows} t`)
  if (Number(found) !== total) throw new Error(`${who}, ${operation}: ${found} are there of ${total}`)
}

/** How long a process takes to open so many documents, the file by the server. */
async function opening(): Promise<{ file: number; server: number }> {
  const { LockedNedb } = await import('../adapters/nedb.ts')
  const path = lab.path('documents')
  const docs = Array.from({ length: DOCUMENTS }, (_, i) => ({
    _id: `document ${i}`,
    i,
    text: 'x'.repeat(60),
  }))
  for (const place of [{ filename: path }, { url: server.url, name: 'documents' }]) {
    const db = new LockedNedb({ ...place, autoload: true })
    if ((await db.countAsync({})) === 0) await db.insertAsync(docs)
    await db.close()
  }
  const script = `
    const since = performance.now()
    const { LockedNedb } = await import(${JSON.stringify(join(ROOT, 'dist/nedb.js'))})
    const db = new LockedNedb(JSON.parse(process.argv[1]))
    await db.loadDatabaseAsync()
    if ((await db.countAsync({})) !== ${DOCUMENTS}) throw new Error('not all are there')
    process.send(performance.now() - since)
    await db.close()
    process.disconnect()`
  const time = async (place: object) => {
    const child = fork('-', [], { execArgv: ['--input-type=module', '-e', script, JSON.stringify(place)] })
    const ms = await answer<number>(child)
    await once(child, 'exit')
    return ms
  }
  return { file: await time({ filename: path }), server: await time({ url: server.url, name: 'documents' }) }
}

const found = new Map<Measure, { pslock: number[]; statements: number[] }>()
const opens: { file: number; server: number }[] = []
try {
  for (let round = 0; round < options.rounds; round++) {
    for (const one of MEASURES) {
      const figures = found.get(one) ?? { pslock: [], statements: [] }
      found.set(one, figures)
      say(`round ${round + 1}/${options.rounds}: ${one.title}, ${one.processes} processes`)
      for (const who of rotated(['pslock', 'statements'] as const, round))
        figures[who].push(await measure(who, one))
    }
    opens.push(await opening())
  }
  const rows = [
    ['operations a second', 'processes', 'in flight', 'pslock', 'plain `pg`', 'pslock / it', 'target'],
    ...[...found].map(([{ title, processes, inFlight, delayMs, target }, { pslock, statements }]) => {
      const [ours, plain] = [median(pslock), median(statements)]
      const where = delayMs === undefined ? title : `${title}, ${delayMs} ms more each way there`
      const ratio = `${(ours / plain).toFixed(2)}x`
      return [
        where,
        String(processes),
        String(inFlight),
        ours.toFixed(0),
        plain.toFixed(0),
        ratio,
        target === undefined ? '' : `${target}x`,
      ]
    }),
  ]
  const [file, served] = [median(opens.map(({ file }) => file)), median(opens.map(({ server }) => server))]
  const how =
    `\`npm run bench:postgres\`, medians of ${options.rounds} rounds of ${FOR_MS / 1000} s after ${WARM_MS / 1000} s of warm-up for each process; every count ` +
    `checked; durable, server and clients on the same machine; to open ${DOCUMENTS} documents takes ${(served / file).toFixed(2)} times ` +
    `as long as from a file (${served.toFixed(0)} by ${file.toFixed(0)} ms; target 1.5); ${machine}`
  if (options.json) console.log(JSON.stringify({ how, found: [...found.values()], opens }, null, 2))
  else console.log(`${table(rows, { right: [1, 2, 3, 4, 5, 6] })}\n${how}`)
  if (options.write) writeMarked('docs/server.md', 'postgres', `${markdown(rows)}\n\n(${how})`)
} finally {
  await server.remove()
  await lab.close()
}
