import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FINDING_KINDS, type Finding } from '../../cli/stress/findings.ts'
import { json } from '../../cli/stress/page/html.ts'
import { page } from '../../cli/stress/page/page.ts'
import { report } from '../../cli/stress/report.ts'
import type { Verdict } from '../../cli/stress/verdict.ts'
import { waitLine } from '../../cli/stress/wait-line.ts'
import { histogram } from '../../cli/stress/waits.ts'
import { ROOT } from '../fixtures/code.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { inTurns, type MadeUp, madeUpRun } from './made-up-run.ts'
import { drawingsOf, drawn } from './report-drawings.ts'
import { killWhatIsLeft, pslock, startPslock } from './run-pslock.ts'

const EVIL = `</script><script>document.title = 'run'</script><img src=x onerror="alert('1')"> & <b>`

function pageOf(locked: MadeUp | undefined, control?: MadeUp): string {
  return page(
    [{ locked: locked && madeUpRun(locked), control: control && madeUpRun({ mode: 'control', ...control }) }],
    'made up',
  )
}

/** The page as text for people, without its scripts and its style. */
function body(text: string): string {
  return text.replaceAll(/<(script|style)\b.*?<\/\1>/gs, '')
}

describe('the report of a run', () => {
  it('has text as text: nothing of a finding or a name becomes part of the page', () => {
    const findings: Finding[] = [{ kind: 'lost', message: EVIL, record: EVIL }]
    const text = page(
      [
        {
          locked: madeUpRun({ workers: inTurns(2, 5), verdict: { kept: EVIL } }),
          control: madeUpRun({ mode: 'control', workers: inTurns(2, 5), findings }),
        },
      ],
      EVIL,
    )
    assert.doesNotMatch(body(text), /<img|<b> /)
    assert.equal(text.match(/<script\b/g)?.length, 3)
    assert.equal(body(text).match(/&#60;img src=x onerror=&#34;alert/g)?.length, 3)
  })

  it('has data as data: no text in it ends its element', () => {
    const { text } = json([EVIL])
    assert.doesNotMatch(text, /</)
    assert.deepEqual(JSON.parse(text), [EVIL])
  })

  it('refers to nothing outside of itself', () => {
    const text = pageOf({ workers: inTurns(2, 5) }, { workers: inTurns(2, 5) })
    const links = /<a href="https:\/\/github\.com\/pslock\/pslock(?:#readme|\/blob\/main\/(\S+))">/g
    assert.doesNotMatch(body(text).replaceAll(links, ''), /https?:|\bsrc=|\bhref=|url\(|@import/)
    assert.doesNotMatch(text, /sourceMappingURL/)
    assert.match(text, /Content-Security-Policy" content="default-src 'none'/)
    assert.match(text, /Released under the MIT License/)
  })

  it('says first what came of it', () => {
    const workers = inTurns(3, 10)
    const findings: Finding[] = [{ kind: 'lost', message: 'record 1' }]
    const head = (text: string) => /<h1[^>]*>(.*?)<\/h1>/.exec(text)?.[1]
    assert.equal(head(pageOf({ workers }, { workers, findings })), 'Nothing lost')
    assert.equal(head(pageOf({ workers, findings }, { workers, findings })), 'Damaged')
    assert.equal(head(pageOf({ workers, verdict: { interrupted: true } })), 'Nothing lost so far')
    assert.equal(head(pageOf(undefined, { workers, findings })), 'Damaged, as expected without a lock')
    assert.equal(head(pageOf(undefined, { workers })), 'Nothing lost, by luck')
    const idle = { workers, verdict: { verdict: 'not enough contention' } } as const
    assert.match(head(pageOf(idle)) ?? '', /too little contention/)
    const clean = body(pageOf({ workers }, { workers, findings }))
    assert.match(
      clean,
      /3 processes did 30 operations on one NeDB file, and the unmodified library finds all/,
    )
    assert.match(clean, /Without a lock, 3 processes did 30 operations, and 1 thing is wrong, 1 of them/)
  })

  it('is in order for runs in which next to nothing happened', () => {
    const cases: Record<string, MadeUp> = {
      'no operation': { workers: [{ operations: [] }, { operations: [] }] },
      'one that was never answered': { workers: [{ operations: [[1]], ended: 'killed' }] },
      'one worker, one operation': { workers: [{ operations: [[1, 2]] }] },
      'no time at all': { workers: [{ operations: [[0, 0]] }] },
      'no waits': {
        workers: [
          {
            operations: [
              [1, 1],
              [2, 2],
            ],
          },
        ],
      },
      'no workers': { workers: [] },
    }
    for (const [name, run] of Object.entries(cases)) {
      const text = pageOf(run, run)
      assert.doesNotMatch(body(text), /NaN|Infinity|undefined|null/, name)
      assert.doesNotMatch(JSON.stringify(drawingsOf(text)), /null/, name)
      assert.match(text, /<h1/)
    }
  })

  it('shows a part of a long run, around its first kill, with no more than can be told apart', () => {
    const text = pageOf({
      workers: inTurns(80, 200),
      disturbances: [
        { what: 'stop', worker: 2, atMs: 20_100, untilMs: 20_200 },
        { what: 'kill', worker: 1, atMs: 20_150 },
      ],
    })
    const [lanes] = drawn(text, 'lanes')
    assert.ok(lanes)
    assert.equal(lanes.lanes.length, 50)
    assert.ok(lanes.fromMs < 20_150 && lanes.untilMs > 20_150, `${lanes.fromMs} to ${lanes.untilMs}`)
    assert.deepEqual(lanes.kills, [{ lane: '1', ms: 20_150 }])
    const spans = lanes.bars.flatMap(({ spans }) => spans)
    assert.ok(spans.length > 100 && spans.length <= 601, `${spans.length} spans`)
    for (const { fromMs, toMs } of spans) assert.ok(toMs >= lanes.fromMs && fromMs <= lanes.untilMs)
    assert.match(body(text), /500 ms from 20\.0 s on, of 32\.0 s; 50 of 80 processes;.*1 killed; 1 stopped\./)
  })

  it('ends a hold that was never released with the life of its process', () => {
    const held = { mode: 'exclusive', askedMs: 1, grantedMs: 2, releasedMs: undefined } as const
    const [lanes] = drawn(
      pageOf({
        workers: [{ operations: [[1]], holds: [held] }, ...inTurns(1, 50)],
        disturbances: [{ what: 'kill', worker: 0, atMs: 9 }],
      }),
      'lanes',
    )
    const exclusive = lanes?.bars.find(({ what }) => what === 'exclusive')
    assert.deepEqual(exclusive?.spans[0], { lane: '0', fromMs: 2, toMs: 9 })
  })

  it('stays small however long the run was, and lists the first 200 findings, losses first', () => {
    const findings = [
      ...Array.from({ length: 300 }, (_, index): Finding => ({ kind: 'stale', message: `read ${index}` })),
      ...Array.from({ length: 50 }, (_, index): Finding => ({ kind: 'lost', message: `record ${index}` })),
    ]
    const text = pageOf({ workers: inTurns(20, 5000) }, { workers: inTurns(20, 5000), findings })
    assert.ok(text.length < 600_000, `${text.length} characters`)
    assert.equal(text.match(/<li>/g)?.length, 200)
    assert.match(text, /<ol><li><b>lost<\/b> record 0/)
    assert.match(text, /first 200; there are 150 more entries\. 350 in all\./)
  })

  it('shows the first ten findings, and the others behind a click', () => {
    const lost = (count: number) =>
      Array.from({ length: count }, (_, index): Finding => ({ kind: 'lost', message: `record ${index};` }))
    const controlOf = (count: number) =>
      body(pageOf({ workers: inTurns(2, 5) }, { workers: inTurns(2, 5), findings: lost(count) }))
    const [, list, folded] =
      /<ol>(.*?)<\/ol>\s*<details><summary>and 20 more<\/summary>\s*<ol start="11">(.*?)<\/ol><\/details>/s.exec(
        controlOf(30),
      ) ?? []
    assert.equal(list?.match(/record \d+;/g)?.length, 10)
    assert.equal(folded?.match(/record \d+;/g)?.length, 20)
    assert.doesNotMatch(controlOf(10), /more<\/summary>/)
  })

  it('names what is wrong and what was done in words', () => {
    const findings = FINDING_KINDS.map((kind): Finding => {
      return { kind, message: 'x', worker: 1, operation: { index: 2, kind: 'readCounter', counter: 'c' } }
    })
    const run = { workers: inTurns(2, 5), findings }
    const made = madeUpRun(run)
    for (const text of [body(pageOf(run, run)), report(made)]) {
      assert.doesNotMatch(text, /outOfOrder|notLinearizable|readCounter/)
      for (const name of ['out of order', 'not linearizable', 'read counter'])
        assert.ok(text.includes(name), name)
    }
    assert.doesNotMatch(pageOf(run, run), /"name":"p\d\d"|wait, p50/)
    assert.deepEqual(Object.keys(made.verdict.found), [...FINDING_KINDS], 'programs keep their names')
  })

  it('puts both sides on one scale, however unlike they are', () => {
    const text = pageOf(
      { workers: inTurns(4, 50, 10), disturbances: [{ what: 'kill', worker: 1, atMs: 900 }] },
      { workers: inTurns(3, 20, 1) },
    )
    const [locked, control] = drawn(text, 'throughput')
    assert.deepEqual([locked?.endMs, control?.endMs], [2000, 60])
    assert.deepEqual([locked?.untilMs, locked?.most], [control?.untilMs, control?.most])
    assert.ok((locked?.untilMs ?? 0) >= 2000 && (locked?.most ?? 0) >= 1000)
    const spans = drawn(text, 'lanes').map(({ fromMs, untilMs }) => untilMs - fromMs)
    assert.equal(spans.length, 2)
    assert.equal(spans[0], spans[1])
    assert.deepEqual(
      drawn(text, 'fairness').map(({ most }) => most),
      [50, 50],
    )
  })

  it('explains why the run with pslock is slower, where it is', () => {
    const [slow, quick] = [{ workers: inTurns(2, 5, 10) }, { workers: inTurns(2, 5, 1) }]
    const explained = body(pageOf(slow, quick))
    assert.match(explained, /Why is it slower with pslock\?.*write over each other.*cold.*only 5 operations/s)
    assert.doesNotMatch(explained, /stopped while it had the lock/)
    const disturbed = { ...madeUpRun(slow).verdict.disturbed, stops: 2 }
    assert.match(body(pageOf({ ...slow, verdict: { disturbed } }, quick)), /stopped while it had the lock/)
    const warm = body(pageOf({ workers: inTurns(2, 2000, 10) }, quick))
    assert.match(warm, /Why is it slower/)
    assert.doesNotMatch(warm, /cold/)
    assert.doesNotMatch(body(pageOf(quick, slow)), /Why is it slower/)
    assert.doesNotMatch(body(pageOf(slow)), /Why is it slower/)
  })

  it('leads to the project and to how to read it, which is there', () => {
    const text = body(pageOf({ workers: inTurns(2, 5, 10) }, { workers: inTurns(2, 5, 1) }))
    assert.match(text, /<a href="https:\/\/github\.com\/pslock\/pslock#readme">/)
    const pages = [...text.matchAll(/href="[^"]*\/blob\/main\/([^"#]+)"/g)].map(([, name]) => name as string)
    assert.deepEqual([...new Set(pages)].sort(), ['docs/performance.md', 'docs/stress-report.md'])
    for (const name of pages) assert.ok(existsSync(join(ROOT, name)), name)
  })

  it('counts every operation once, in each plot', () => {
    const workers = inTurns(7, 31, 3)
    const text = pageOf({ workers }, { workers: inTurns(7, 31, 30) })
    const [throughput] = drawn(text, 'throughput')
    const steps = throughput?.points ?? []
    const stepS = (throughput?.endMs ?? 0) / 1000 / steps.length
    assert.equal(Math.round(steps.reduce((sum, { y }) => sum + y * stepS, 0)), 7 * 31)
    const [fairness] = drawn(text, 'fairness')
    assert.deepEqual(
      fairness?.early.map((early, worker) => early + (fairness.late[worker] ?? 0)),
      Array(7).fill(31),
    )
    for (const { shares } of drawn(text, 'waits')) {
      assert.equal(shares.reduce((sum, share) => sum + share, 0).toFixed(6), '100.000000')
    }
    const [first, second] = drawn(text, 'waits')
    assert.deepEqual([first?.bounds, first?.most], [second?.bounds, second?.most], 'on one scale')
  })
})

describe('the waits in one line', () => {
  const waits = [0.1, 1, 1, 1, 1, 10]
  const latency = { count: 6, p50: 1, p99: 10, max: 10 }

  it('are blocks, or ASCII where blocks cannot be read', () => {
    const blocks = waitLine(waits, latency, true) ?? ''
    assert.match(blocks, /0\.10 ms to 10\.0 ms .*▂ {5}█ {5}▂.*p50 1\.00 ms, p99 10\.0 ms, max 10\.0 ms/)
    const plain = waitLine(waits, latency, false) ?? ''
    assert.match(plain, /^\p{ASCII}+$/u)
    assert.match(plain, /: {5}@ {5}:/)
    assert.equal(waitLine([], latency, true), undefined)
  })

  it('fall into steps of equal ratio that have room for all of them', () => {
    const all = [0, 0.0005, 0.02, 0.3, 7, 7, 80, 12_345]
    const { bounds, counts } = histogram(all, 8)
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      all.length,
    )
    assert.equal(bounds.length, counts.length + 1)
    assert.ok((bounds[0] as number) <= 0.001001 && (bounds.at(-1) as number) > 12_345)
    assert.deepEqual(histogram([], 8).counts, [0])
  })
})

describe('pslock stress --report', () => {
  const folder = useFolder()
  killWhatIsLeft()
  const small = ['stress', '--procs', '4', '--ops', '20', '--seed', '5']

  it('writes a page about the run and a control, and leaves stdout to the verdict', async () => {
    const path = folder('out.html')
    writeFileSync(folder('real.html'), 'an older report')
    symlinkSync('real.html', path)
    const { code, stdout, stderr } = await pslock(...small, '--kill', '1', '--json', '--report', path)
    assert.equal(code, 0, stdout + stderr)
    const verdict = JSON.parse(stdout) as Verdict
    assert.match(stderr, new RegExp(`the report is in .*${folder('real.html')}\\n`))
    assert.deepEqual(readdirSync(folder()).sort(), ['out.html', 'real.html'])
    const text = readFileSync(path, 'utf8')
    assert.match(text, /<h1 class="good">Nothing lost<\/h1>/)
    const [locked, control] = drawn(text, 'fairness')
    const sum = (numbers: readonly number[] = []) => numbers.reduce((all, number) => all + number, 0)
    assert.equal(sum(locked?.early) + sum(locked?.late), verdict.acknowledged)
    assert.ok(sum(control?.early) + sum(control?.late) > 0)
    const [lanes, others] = drawn(text, 'lanes')
    assert.ok(lanes?.bars.some(({ what, spans }) => what === 'exclusive' && spans.length > 20))
    assert.ok(others?.bars.every(({ what }) => what === 'operation'))
    assert.equal(lanes?.kills.length, verdict.disturbed.kills)
    assert.equal(verdict.disturbed.kills, 1)
  })

  it('refuses at once what cannot be a file', async () => {
    for (const [path, why] of [
      [folder(), /it is no file/],
      ['/dev/null', /it is no file/],
      [folder('missing/out.html'), /its folder does not exist/],
    ] as const) {
      const { code, stdout, stderr } = await pslock(...small, '--report', path)
      assert.equal(code, 2)
      assert.equal(stdout, '')
      assert.match(stderr, why)
    }
  })

  it('ends with 125 where it could not be written after all; the verdict is printed', async () => {
    const [data, gone] = [folder('data'), folder('gone')]
    mkdirSync(data)
    mkdirSync(gone)
    const { outcome } = startPslock(...small, '--dir', data, '--report', folder('gone/out.html'))
    await until('the run has begun', () => readdirSync(data).length > 0)
    rmSync(gone, { recursive: true })
    const { code, stdout, stderr } = await outcome
    assert.equal(code, 125, stderr)
    assert.match(stdout, /CLEAN: nothing lost/)
    assert.match(stderr, /pslock: cannot write the report to .*its folder does not exist/)
  })

  it('reports at Ctrl-C on what was done so far, without a control', async () => {
    const [data, path] = [folder('data'), folder('out.html')]
    mkdirSync(data)
    const { child, outcome } = startPslock(
      ...['stress', '--procs', '2', '--seconds', '600', '--dir', data, '--report', path],
    )
    const ledgers = () =>
      (readdirSync(data, { recursive: true }) as string[]).filter((name) => /holds-\d$/.test(name))
    await until('there are holds', () =>
      ledgers().some((name) => readFileSync(`${data}/${name}`, 'utf8').split('release').length > 20),
    )
    child.kill('SIGINT')
    const { code, stderr } = await outcome
    assert.equal(code, 130, stderr)
    assert.ok(existsSync(path), stderr)
    const text = readFileSync(path, 'utf8')
    assert.match(text, /Nothing lost so far/)
    assert.match(text, /There is no control/)
    assert.equal(drawn(text, 'lanes').length, 1)
  })
})
