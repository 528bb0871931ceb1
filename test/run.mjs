/**
 * Runs the compiled tests, or only some: `node test/run.mjs lock store/log`.
 *
 *     --fast    only those that start no processes, or a few: not `.processes.test` and not `.torture.test`
 *     --watch   compiles and runs them again whenever a file changes
 *
 * A mocha process has the files of one folder, as many as take a while; several of them run beside each other, for most
 * tests wait more than they work. What one prints comes in one piece when it has ended, and every failure once more at
 * the end. How long each took is kept in build/test-seconds.json, so that the next run begins with the longest.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, watch, writeFileSync } from 'node:fs'
import { availableParallelism, constants } from 'node:os'
import { dirname, join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const TESTS = join(ROOT, 'build/test')
const SECONDS = join(ROOT, 'build/test-seconds.json')
/** What works is done by as many as there are processors; what waits leaves room for one more. */
const LANES = { fast: availableParallelism(), slow: availableParallelism() + 1 }
/** As much as one mocha process is given at most, unless a single file takes longer. */
const PIECE_SECONDS = 20
/** Whoever has told its result and is still there after this has left something open. */
const END_MS = 30_000

/** They claim something about time, or count what happens in a time: each runs with nothing beside it. */
const ALONE = [
  'bench/speed.torture',
  'store/transaction/kill.torture',
  'lock/event-loop.processes',
  'lock/fairness.torture',
  'lock/polite.torture',
  'lock/writers.torture',
]

const words = process.argv.slice(2)
const isFast = words.includes('--fast')
const wanted = words.filter((word) => !word.startsWith('--'))

const tierOf = (name) => /\.(processes|torture)$/.exec(name)?.[1] ?? 'fast'

function chosen() {
  const all = readdirSync(TESTS, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js'))
    .map((path) => path.slice(0, -'.test.js'.length))
    .sort()
  const missing = ALONE.filter((name) => !all.includes(name))
  if (missing.length > 0) throw new Error(`no such test: ${missing.join(', ')}`)
  const names = all.filter(
    (name) =>
      (!isFast || tierOf(name) === 'fast') &&
      (wanted.length === 0 ||
        wanted.some((word) => `${name}/`.startsWith(`${word}/`) || name.startsWith(`${word}.`))),
  )
  if (names.length === 0) throw new Error(`no tests in ${wanted.join(', ')}; run \`npm run pretest\` first`)
  return names
}

/** @type {Record<string, number>} */
let seconds = {}
try {
  seconds = JSON.parse(readFileSync(SECONDS, 'utf8'))
} catch {
  // The first run.
}
const secondsOf = (name) => seconds[name] ?? { fast: 0.5, processes: 8, torture: 25 }[tierOf(name)]
const sum = (names) => names.reduce((total, name) => total + secondsOf(name), 0)

/** Files that run one after the other in one process, the longest lists first. */
function pieces(names) {
  const found = []
  for (const name of names) {
    const last = found.at(-1)
    const fits = last && dirname(last[0]) === dirname(name) && tierOf(last[0]) === tierOf(name)
    if (fits && sum([...last, name]) <= PIECE_SECONDS) last.push(name)
    else found.push([name])
  }
  return found.sort((a, b) => sum(b) - sum(a))
}

/** So many lists that take about as long. */
function shares(names, count) {
  const lists = Array.from({ length: count }, () => [])
  for (const name of [...names].sort((a, b) => secondsOf(b) - secondsOf(a))) {
    lists.sort((a, b) => sum(a) - sum(b))[0].push(name)
  }
  return lists.filter((list) => list.length > 0)
}

const running = new Set()
let stopped
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    stopped = signal
    for (const child of running) child.kill(signal)
    // While it only watches, nobody else would end it.
    if (running.size === 0) process.exit(128 + constants.signals[signal])
  })
}

/** @returns what mocha printed, and whether it ended well */
function mocha(names) {
  return new Promise((done, failed) => {
    const child = spawn(
      process.execPath,
      [
        ...[join(ROOT, 'node_modules/mocha/bin/mocha.js'), '--config', join(ROOT, 'test/compiled.json')],
        ...(isFast ? ['--reporter', 'dot'] : []),
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

const secondsSince = (start) => `${((Date.now() - start) / 1000).toFixed(0)} s`

/** @returns whether all of them passed */
async function runAll(names) {
  const totals = { passing: 0, pending: 0, failing: 0 }
  const failures = []

  async function run(list) {
    const start = Date.now()
    const title =
      list.length < 4 ? list.join(', ') : `${list.length} files: ${list.slice(0, 3).join(', ')}, ...`
    console.log(`--> ${title}`)
    const { text, code, signal } = await mocha(list)
    const result = resultOf(text)
    for (const what of Object.keys(totals)) totals[what] += countOf(result, what)
    process.stdout.write(`\n==> ${title} (${secondsSince(start)})\n${text}`)
    const took = (Date.now() - start) / 1000
    const expected = sum(list)
    for (const name of list) seconds[name] = Number(((secondsOf(name) / expected) * took).toFixed(1))
    if (code === 0 && result !== '') return
    failures.push(
      `--> ${title} ended with ${signal ?? code}${result === '' ? ' before its last test' : ''}\n${result === '' ? text.slice(-5000) : result}`,
    )
  }

  async function inLanes(count, queue) {
    const lane = async () => {
      for (let next = queue.shift(); next && stopped === undefined; next = queue.shift()) await run(next)
    }
    await Promise.all(Array.from({ length: count }, lane))
  }

  const start = Date.now()
  const beside = names.filter((name) => !ALONE.includes(name))
  const fast = beside.filter((name) => tierOf(name) === 'fast')
  const slow = beside.filter((name) => tierOf(name) !== 'fast')
  await inLanes(LANES.fast, shares(fast, LANES.fast))
  await inLanes(
    1,
    names.filter((name) => ALONE.includes(name)).map((name) => [name]),
  )
  await inLanes(LANES.slow, pieces(slow))
  writeFileSync(SECONDS, JSON.stringify(seconds))

  for (const failure of failures) console.log(`\n${failure.trimEnd()}`)
  console.log(
    `\n==> ${totals.passing} passing, ${totals.pending} pending, ${totals.failing} failing (${secondsSince(start)})`,
  )
  return failures.length === 0
}

/** Compiles and runs them again, after every change of a file. */
async function watching() {
  let isDue = true
  let wake = () => {}
  for (const folder of ['src', 'adapters', 'cli', 'test']) {
    watch(join(ROOT, folder), { recursive: true }, () => {
      isDue = true
      wake()
    })
  }
  while (stopped === undefined) {
    if (isDue) {
      // An editor writes several files at once.
      await new Promise((resolve) => setTimeout(resolve, 100))
      isDue = false
      const tsc = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.test.json', '--noCheck']
      const compiled = spawnSync(process.execPath, tsc, { cwd: ROOT, stdio: 'inherit' })
      if (compiled.status === 0) await runAll(chosen())
    } else {
      await new Promise((resolve) => {
        wake = resolve
      })
    }
  }
}

if (words.includes('--watch')) await watching()
else if (!(await runAll(chosen()))) process.exitCode = 1
if (stopped !== undefined) process.exitCode = 128 + constants.signals[stopped]
