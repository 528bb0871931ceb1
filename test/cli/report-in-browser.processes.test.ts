import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { pathToFileURL } from 'node:url'
import type { Page } from 'playwright-core'
import type { Finding } from '../../cli/stress/findings.ts'
import { DEFAULTS } from '../../cli/stress/options.ts'
import { page } from '../../cli/stress/page/page.ts'
import { type StressRun, stress } from '../../cli/stress/stress.ts'
import { useFolder } from '../fixtures/folder.ts'
import { useChromium } from './chromium.ts'
import { inTurns, madeUpRun } from './made-up-run.ts'

const WIDTHS = [1280, 400]
const SCHEMES = ['light', 'dark'] as const

/** In the page: of every canvas, how many of its pixels have anything on them, and in which colours most of them are. */
const CANVASES = `[...document.querySelectorAll('canvas')].map((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const colours = {}
  let painted = 0
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] === 0) continue
    painted++
    const colour = '#' + [0, 1, 2].map((i) => data[at + i].toString(16).padStart(2, '0')).join('')
    colours[colour] = (colours[colour] ?? 0) + 1
  }
  return { label: canvas.getAttribute('aria-label'), role: canvas.getAttribute('role'), painted, colours }
})`

interface Canvas {
  readonly label: string | null
  readonly role: string | null
  readonly painted: number
  readonly colours: Readonly<Record<string, number>>
}

/** A colour of the style sheet, as it is in the page now. */
function colour(opened: Page, name: string): Promise<string> {
  return opened.evaluate(`getComputedStyle(document.documentElement).getPropertyValue('--${name}').trim()`)
}

describe('the report in a browser', () => {
  const folder = useFolder()
  const browser = useChromium()
  let complaints: string[] = []
  let real: { locked: StressRun; control: StressRun }

  before(async () => {
    const options = {
      ...DEFAULTS,
      procs: 4,
      ops: 15,
      seed: 3,
      kill: 0,
      sliceMs: undefined,
      dir: tmpdir(),
      keep: false,
    }
    real = {
      locked: await stress({ ...options, unlocked: false }),
      control: await stress({ ...options, unlocked: true }),
    }
  })

  beforeEach(() => {
    complaints = []
  })

  /** Opens a page of that text, and notes whatever a browser may have against it, and whatever it asks for. */
  async function open(text: string, width = 1280, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
    const file = folder('report.html')
    writeFileSync(file, text)
    const opened = await browser().newPage({ viewport: { width, height: 800 }, colorScheme })
    opened.on('console', (message) => complaints.push(`console: ${message.text()}`))
    opened.on('pageerror', ({ message }) => complaints.push(`error: ${message}`))
    opened.on('dialog', (dialog) => {
      complaints.push(`dialog: ${dialog.message()}`)
      return dialog.dismiss()
    })
    opened.on('request', (request) => {
      if (request.url() !== pathToFileURL(file).href) complaints.push(`asked for ${request.url()}`)
    })
    await opened.goto(pathToFileURL(file).href)
    return opened
  }

  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      it(`shows all of a real run, ${width} px wide and ${scheme}`, async () => {
        const opened = await open(page([real], 'here'), width, scheme)
        const canvases = await opened.evaluate<Canvas[]>(CANVASES)
        assert.equal(canvases.length, 8)
        for (const { label, role, painted, colours } of canvases) {
          assert.ok(painted > 2000, `${label}: ${painted} pixels are painted`)
          assert.ok(Object.keys(colours).length > 5, `${label}: ${Object.keys(colours)}`)
          assert.equal(role, 'img')
          assert.match(label ?? '', /(With pslock|Without a lock \(control\)): .*\d.*\.$/)
        }
        // What each of them is about is really in it.
        for (const [index, name] of [
          ...['locked', 'control', 'locked', 'control'],
          ...['exclusive', 'control', 'locked', 'control'],
        ].entries()) {
          const { label, colours } = canvases[index] as Canvas
          const pixels = colours[await colour(opened, name)] ?? 0
          assert.ok(pixels > 20, `${label}: ${pixels} pixels in the colour of ${name}`)
        }
        const scrollWidth = await opened.evaluate<number>('document.documentElement.scrollWidth')
        assert.ok(scrollWidth <= width, `${scrollWidth} px of content`)
        assert.deepEqual(complaints, [])
        await opened.close()
      })
    }
  }

  it('takes on the other colours when the system changes them', async () => {
    const opened = await open(page([real], 'here'))
    const light = await colour(opened, 'locked')
    await opened.emulateMedia({ colorScheme: 'dark' })
    const dark = await colour(opened, 'locked')
    assert.notEqual(dark, light)
    // The page is told of it before the callbacks of the next frame (HTML standard, "update the rendering").
    await opened.evaluate('new Promise((done) => requestAnimationFrame(done))')
    const [throughput] = await opened.evaluate<Canvas[]>(CANVASES)
    assert.ok((throughput?.colours[dark] ?? 0) > 20 && !throughput?.colours[light])
    assert.deepEqual(complaints, [])
    await opened.close()
  })

  it('marks kills and stops', async () => {
    const disturbances = [
      { what: 'kill', worker: 0, atMs: 30 },
      { what: 'stop', worker: 1, atMs: 40, untilMs: 60 },
    ] as const
    const locked = madeUpRun({ workers: inTurns(3, 20), disturbances })
    const opened = await open(page([{ locked, control: undefined }], 'here'))
    const lanes = (await opened.evaluate<Canvas[]>(CANVASES))[2]
    assert.match(lanes?.label ?? '', /1 killed; 1 stopped/)
    for (const name of ['kill', 'stop', 'waiting', 'shared']) {
      const pixels = lanes?.colours[await colour(opened, name)] ?? 0
      assert.ok(pixels > 10, `${pixels} pixels in the colour of ${name}`)
    }
    assert.deepEqual(complaints, [])
    await opened.close()
  })

  it('draws what was counted in steps, and invents nothing between them', async () => {
    const ends = [...Array<number>(8).fill(1), ...Array<number>(40).fill(50), ...Array<number>(8).fill(99)]
    const locked = madeUpRun({ workers: [{ operations: ends.map((toMs) => [toMs, toMs] as const) }] })
    const opened = await open(page([{ locked, control: undefined }], 'here'))
    const main = await colour(opened, 'locked')
    // Of each column the highest pixel of the line: with steps it is at a few heights only.
    const heights = await opened.evaluate<number[]>(`(() => {
      const canvas = document.querySelector('canvas')
      const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      const isLine = (at) => '#' + [0, 1, 2].map((i) => data[at + i].toString(16).padStart(2, '0')).join('') === '${main}'
      const tops = Array.from({ length: width }, (_, x) =>
        Array.from({ length: height }, (_, y) => y).find((y) => isLine(4 * (y * width + x))))
      return [...new Set(tops.filter((top) => top !== undefined))]
    })()`)
    assert.ok(heights.length >= 2 && heights.length <= 6, `the line is at ${heights.join(', ')}`)
    await opened.close()
  })

  it('has lines in the legend, dashed as those in the plot', async () => {
    const opened = await open(page([real], 'here'))
    // Of each entry: how many rows of pixels its sample has, and in how many pieces it is.
    const samples = await opened.evaluate<{ text: string; rows: number; pieces: number }[]>(`(() => {
      const canvas = document.querySelectorAll('canvas')[2]
      const { legend } = Chart.getChart(canvas)
      return legend.legendItems.map(({ text }, index) => {
        const { left, top, height } = legend.legendHitBoxes[index]
        const { data } = canvas.getContext('2d').getImageData(Math.round(left), Math.round(top), 28, Math.round(height))
        const isPainted = (x, y) => data[4 * (y * 28 + x) + 3] > 60
        const xs = Array.from({ length: 28 }, (_, x) => x)
        const ys = Array.from({ length: Math.round(height) }, (_, y) => y)
        const columns = xs.map((x) => ys.some((y) => isPainted(x, y)))
        return {
          text,
          rows: ys.filter((y) => xs.some((x) => isPainted(x, y))).length,
          pieces: columns.filter((is, x) => is && !columns[x - 1]).length,
        }
      })
    })()`)
    assert.deepEqual(
      samples.map(({ text }) => text.replace(/ [\d.]+ \S+$/, '')),
      ['half within', '99 of 100 within', 'longest'],
    )
    for (const { text, rows } of samples) assert.ok(rows >= 1 && rows <= 3, `${text}: ${rows} rows of pixels`)
    const [solid = 0, dashed = 0, dotted = 0] = samples.map(({ pieces }) => pieces)
    assert.ok(solid === 1 && dashed >= 2 && dotted > dashed, `${solid}, ${dashed} and ${dotted} pieces`)
    await opened.close()
  })

  it('hides nothing in a box of its own', async () => {
    const findings = Array.from({ length: 120 }, (_, index): Finding => {
      return { kind: 'lost', message: `record ${index} was acknowledged and is not in the file any more` }
    })
    const control = madeUpRun({ mode: 'control', workers: inTurns(2, 50), findings })
    const opened = await open(
      page([{ locked: madeUpRun({ workers: inTurns(2, 50) }), control }], 'here'),
      400,
    )
    await opened.evaluate(`for (const details of document.querySelectorAll('details')) details.open = true`)
    const cut = await opened.evaluate<string[]>(`[...document.querySelectorAll('main *')]
      .filter((element) => element.clientHeight > 0 && element.scrollHeight > element.clientHeight + 1)
      .filter((element) => getComputedStyle(element).overflowY !== 'visible')
      .map((element) => element.outerHTML.slice(0, 80))`)
    assert.deepEqual(cut, [])
    await opened.close()
  })

  it('is printed in light colours, with everything opened, and is itself again afterwards', async () => {
    const opened = await open(page([real], 'here'), 400, 'dark')
    const dark = await colour(opened, 'locked')
    const state = `({
      folded: document.querySelectorAll('details:not([open])').length,
      widths: [...new Set([...document.querySelectorAll('canvas')].map(({ clientWidth }) => clientWidth))],
      main: getComputedStyle(document.documentElement).getPropertyValue('--locked').trim(),
    })`
    interface State {
      readonly folded: number
      readonly widths: readonly number[]
      readonly main: string
    }
    const before = await opened.evaluate<State>(state)
    assert.ok(before.folded > 5, `${before.folded} are folded`)
    await opened.evaluate(
      `addEventListener('beforeprint', () => { globalThis.printed = { ...${state}, first: ${CANVASES}[0].colours } })`,
    )
    await opened.pdf({ format: 'A4' })
    const printed = await opened.evaluate<State & { first: Canvas['colours'] }>('printed')
    assert.equal(printed.folded, 0)
    assert.deepEqual(printed.widths, [300])
    assert.notEqual(printed.main, dark)
    assert.ok((printed.first[printed.main] ?? 0) > 20 && !printed.first[dark], JSON.stringify(printed.first))
    const after = await opened.evaluate<State>(state)
    assert.deepEqual([after.folded, after.widths, after.main], [before.folded, before.widths, dark])
    await opened.emulateMedia({ media: 'print', colorScheme: 'dark' })
    const paper = await opened.evaluate<unknown>(`({
      background: getComputedStyle(document.body).backgroundColor,
      ink: getComputedStyle(document.body).color,
      whole: ['.plot', '.card', 'tr'].map((name) => getComputedStyle(document.querySelector(name)).breakInside),
      overflow: getComputedStyle(document.querySelector('.numbers')).overflowX,
    })`)
    assert.deepEqual(paper, {
      background: 'rgb(255, 255, 255)',
      ink: 'rgb(27, 36, 48)',
      whole: ['avoid', 'avoid', 'avoid'],
      overflow: 'visible',
    })
    assert.deepEqual(complaints, [])
    await opened.close()
  })

  it('takes what was found for text, and does without what is not there', async () => {
    const message = `</script><script>alert(1)</script><img src="//example.org/x" onerror="alert(2)">`
    const findings: Finding[] = [{ kind: 'lost', message }]
    const runs = [
      {
        locked: madeUpRun({ workers: [] }),
        control: madeUpRun({ mode: 'control', workers: inTurns(1, 1), findings }),
      },
      { locked: madeUpRun({ workers: [{ operations: [[0, 0]] }] }), control: undefined },
    ]
    const opened = await open(page(runs, message), 400)
    const text = await opened.evaluate<string>('document.body.innerText')
    assert.equal(text.split(message).length - 1, 2, 'once as a finding, once at the end')
    assert.equal(await opened.evaluate('document.images.length'), 0)
    assert.ok((await opened.evaluate<number>('document.documentElement.scrollWidth')) <= 400)
    for (const { label, painted } of await opened.evaluate<Canvas[]>(CANVASES))
      assert.ok(painted > 0, `${label}`)
    assert.deepEqual(complaints, [])
    await opened.close()
  })
})
