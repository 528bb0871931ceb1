/**
 * `node test/run.mjs [folder or file ...]` runs the compiled tests, or only some: `lock`, `adapters/lowdb`, `store/log`.
 * Each folder is a mocha process, and two of them run beside each other, for most tests wait more than they work. What a
 * folder prints comes in one piece when it has ended, and every failure once more at the end.
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const TESTS = join(ROOT, 'build/test')
const LANES = 2
/** Whoever has told its result and is still there after this has left something open. */
const END_MS = 30_000

/** They claim something about time, or count what happens in a time: each runs first, and with nothing beside it. */
const ALONE = [
  'bench/speed',
  'store/transaction/kill',
  'lock/event-loop',
  'lock/fairness',
  'lock/polite',
  'lock/writers',
]

const all = readdirSync(TESTS, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.test.js'))
  .map((path) => path.slice(0, -'.test.js'.length))
  .sort()
const missing = ALONE.filter((name) => !all.includes(name))
if (missing.length > 0) throw new Error(`no such test: ${missing.join(', ')}`)
const wanted = process.argv.slice(2)
const chosen = all.filter(
  (name) => wanted.length === 0 || wanted.some((word) => `${name}/`.startsWith(`${word}/`)),
)
if (chosen.length === 0) throw new Error(`no tests in ${wanted.join(', ')}; run \`npm run pretest\` first`)

/** @type {Map<string, string[]>} */
const folders = new Map()
for (const name of chosen.filter((name) => !ALONE.includes(name))) {
  const folder = dirname(name)
  folders.set(folder, [...(folders.get(folder) ?? []), name])
}
const alone = chosen.filter((name) => ALONE.includes(name)).map((name) => ({ title: name, names: [name] }))
// Where there is most to do is begun first, lest it is left over at the end.
const beside = [...folders]
  .map(([folder, names]) => ({ title: folder === '.' ? 'the files of test itself' : folder, names }))
  .sort((a, b) => b.names.length - a.names.length)

const running = new Set()
let stopped
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    stopped = signal
    for (const child of running) child.kill(signal)
  })
}

/** @returns what mocha printed, and whether it ended well */
function mocha(names) {
  return new Promise((done, failed) => {
    const child = spawn(
      process.execPath,
      [
        ...[join(ROOT, 'node_modules/mocha/bin/mocha.js'), '--config', join(ROOT, 'test/compiled.json')],
        ...(process.stdout.isTTY ? ['--color'] : []),
        ...names.map((name) => join(TESTS, `${name}.test.js`)),
      ],
      { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    running.add(child)
    let text = ''
    let reminder
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (piece) => {
        text += piece
        clearTimeout(reminder)
        reminder = setTimeout(() => {
          if (resultOf(text) === '') return
          text += `\n  It did not end within ${END_MS / 1000} s after its last test: something is still open.\n`
          child.kill('SIGKILL')
        }, END_MS)
      })
    }
    child.on('error', failed)
    child.on('exit', (code, signal) => {
      running.delete(child)
      const end = () => {
        child.stdout.destroy()
        child.stderr.destroy()
        clearTimeout(reminder)
        done({ text, code, signal })
      }
      // A process that a test has left behind may have them open for ever.
      const patience = setTimeout(end, 2000)
      child.on('close', () => {
        clearTimeout(patience)
        end()
      })
    })
  })
}

function plain(text) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are written with one
  return text.replace(/\x1b\[\d+m/g, '')
}

/** What mocha says when all tests have run, and nothing where they have not: a test may print such a line, too. */
function resultOf(text) {
  const shown = plain(text)
  const last = [...shown.matchAll(/^ {2}\d+ passing \(/gm)].at(-1)
  const result = last === undefined ? '' : shown.slice(last.index)
  return /^ +\u2714/m.test(result) ? '' : result
}

function countOf(text, what) {
  return Number(new RegExp(`^ {2}(\\d+) ${what}`, 'm').exec(text)?.[1] ?? 0)
}

const totals = { passing: 0, pending: 0, failing: 0 }
const failures = []
const secondsSince = (start) => `${((Date.now() - start) / 1000).toFixed(0)} s`

async function run({ title, names }) {
  const start = Date.now()
  console.log(`--> ${title} ...`)
  const { text, code, signal } = await mocha(names)
  const result = resultOf(text)
  for (const what of Object.keys(totals)) totals[what] += countOf(result, what)
  process.stdout.write(`\n==> ${title} (${secondsSince(start)})\n${text}`)
  if (code === 0 && result !== '') return
  failures.push(
    `--> ${title} ended with ${signal ?? code}${result === '' ? ' before its last test' : ''}\n${result === '' ? text.slice(-5000) : result}`,
  )
}

async function lane(queue) {
  for (let next = queue.shift(); next && stopped === undefined; next = queue.shift()) await run(next)
}

const start = Date.now()
await lane(alone)
await Promise.all(Array.from({ length: LANES }, () => lane(beside)))

for (const failure of failures) console.log(`\n${failure.trimEnd()}`)
console.log(
  `\n==> ${totals.passing} passing, ${totals.pending} pending, ${totals.failing} failing (${secondsSince(start)})`,
)
if (stopped !== undefined) process.exitCode = 128 + constants.signals[stopped]
else if (failures.length > 0) process.exitCode = 1
