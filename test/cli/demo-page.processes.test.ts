import assert from 'node:assert/strict'
import type { Browser, Page } from 'playwright-core'
import { until } from '../fixtures/folder.ts'
import { CHROMIUM, launchChromium } from './chromium.ts'
import { type DemoServerProcess, HAS_SQLITE, startDemoServer } from './demo-server.ts'
import { killWhatIsLeft } from './run-pslock.ts'

const DONE_MS = 60_000

/** Playwright's own would be forbidden by the policy of the page. */
const waitFor = (page: Page, condition: string) => until(condition, () => page.evaluate(condition), DONE_MS)

/** In the page: what the parts of it take up, from the top; whatever moves or grows is another number. */
const LAYOUT = `[...document.querySelectorAll('#form, #result, .figures > *, .live > *, main > .card, #rows tr > *')].map((part) => {
  const { x, y, width, height } = part.getBoundingClientRect()
  return [part.id || part.className || part.tagName, x, y + scrollY, width, height].join(' ')
})`

describe('the page of the web demo', () => {
  killWhatIsLeft()
  let browser: Browser | undefined
  let server: DemoServerProcess
  let complaints: string[] = []

  before(async function () {
    if (CHROMIUM === undefined) {
      console.log(
        '      skipped: there is no Chromium here; install one, or name it in the variable CHROMIUM',
      )
      return this.skip()
    }
    browser = await launchChromium()
  })

  after(() => browser?.close())

  beforeEach(async () => {
    complaints = []
    server = await startDemoServer()
  })

  afterEach(async () => {
    // Its reconnects would be noted in the next test.
    await Promise.all(browser?.contexts().map((context) => context.close()) ?? [])
    server.child.kill('SIGINT')
    await server.outcome
  })

  async function open(width = 1280, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
    const page = await (browser as Browser).newPage({ viewport: { width, height: 900 }, colorScheme })
    page.on('console', (message) => {
      // A visitor of the web site may come just after the end of the run.
      if (!message.text().includes('status of 409')) complaints.push(`console: ${message.text()}`)
    })
    page.on('pageerror', ({ message }) => complaints.push(`error: ${message}`))
    page.on('request', (request) => {
      if (!request.url().startsWith(server.url) && !request.url().startsWith('data:'))
        complaints.push(`asked for ${request.url()}`)
    })
    await page.goto(server.url)
    return page
  }

  async function set(page: Page, knobs: Record<string, number>): Promise<void> {
    await page.click('#knobs summary')
    for (const [name, value] of Object.entries(knobs)) await page.fill(`input[name=${name}]`, String(value))
    await page.click('#knobs summary')
  }

  /** Chooses, sets and starts, as a person would. */
  async function begin(page: Page, way: string, knobs: Record<string, number>): Promise<void> {
    await page.check(`input[value=${way}]`, { force: true })
    await set(page, knobs)
    await page.click('#start')
  }

  const verdict = async (page: Page) => {
    await waitFor(page, `/found|cannot be read/.test(document.getElementById('verdict').innerText)`)
    return page.innerText('#result')
  }
  const waitForState = (page: Page, row: number, state: string) =>
    waitFor(page, `document.querySelectorAll('#rows tr')[${row}]?.cells[1].innerText.includes('${state}')`)
  const scrollWidth = (page: Page) => page.evaluate<number>('document.documentElement.scrollWidth')

  for (const [width, scheme] of [
    [1280, 'light'],
    [1280, 'dark'],
    [400, 'light'],
    [400, 'dark'],
  ] as const) {
    it(`runs with pslock to its end, ${width} px wide and ${scheme}: nothing moves, and nothing sticks out`, async () => {
      const page = await open(width, scheme)
      await waitFor(page, `document.querySelectorAll('#rows tr').length === 4`)
      const background = await page.evaluate('getComputedStyle(document.body).backgroundColor')
      assert.equal(background === 'rgb(246, 247, 249)', scheme === 'light')
      await set(page, { num: 300, delayMs: 5 })
      const before = await page.evaluate(LAYOUT)
      await page.click('#start')
      await waitForState(page, 3, 'pausing')
      assert.deepEqual(await page.evaluate(LAYOUT), before)
      assert.ok((await scrollWidth(page)) <= width)
      assert.match(
        await verdict(page),
        /^✓ expected (9\d\d), found \1\nNo record that was acknowledged is lost\./,
      )
      assert.deepEqual(await page.evaluate(LAYOUT), before)
      assert.ok((await scrollWidth(page)) <= width)
      assert.match(await page.innerText('#rows'), /process 3[\s\S]*✓ done[\s\S]*300 of 300/)
      assert.match(await page.innerText('#answer'), /^✓ [\d.]+ m?s$/, 'visitors have come to the web site')
      assert.deepEqual(complaints, [])
    })
  }

  it('shows what is lost without a lock', async () => {
    const page = await open()
    await begin(page, 'none', { num: 200, delayMs: 1 })
    assert.match(
      await verdict(page),
      /^✗ expected 6\d\d, found \d+\n\d+ records are lost, and no program was told\./,
    )
    assert.deepEqual(complaints, [])
  })

  it('shows what SQLite refuses', async function () {
    if (!HAS_SQLITE) return this.skip()
    const page = await open(400)
    await page.uncheck('#visitors')
    await begin(page, 'sqlite', { num: 40, sleepMs: 20, timeoutMs: 5 })
    assert.match(
      await verdict(page),
      /^△ expected 120, found \d+\n.* \d+ were refused, and their programs know it\./,
    )
    assert.match(await page.innerText('#last-error'), /database is locked$/)
    assert.ok((await scrollWidth(page)) <= 400)
    assert.deepEqual(complaints, [])
  })

  it('late news of an earlier run do not reach the rows and the chart of the next', async () => {
    const page = await (browser as Browser).newPage()
    await page.addInitScript(`
      const Real = EventSource
      globalThis.EventSource = class extends Real {
        constructor(...args) { super(...args); globalThis.source = this; this.addEventListener('message', ({ data }) => { globalThis.last = data }) }
      }`)
    await page.goto(server.url)
    const points = () =>
      page.evaluate<number>(
        `Math.max(...Chart.getChart('chart').data.datasets.map(({ data }) => data.length))`,
      )
    const late = (data: string) =>
      page.evaluate(`source.dispatchEvent(new MessageEvent('message', { data: ${JSON.stringify(data)} }))`)

    await begin(page, 'pslock', { num: 1000, delayMs: 100 })
    await waitForState(page, 1, 'pausing')
    await waitFor(page, `JSON.parse(last).rows[1].done > 5`)
    const old = await page.evaluate<string>('last')
    const before = await points()
    await late(old.replace('"elapsedMs":', '"elapsedMs":1e5,"was":'))
    assert.equal(await points(), before + 1, 'news of the present run are shown')

    await begin(page, 'pslock', { num: 999, delayMs: 500 })
    await waitFor(page, `JSON.parse(last).run === 2 && JSON.parse(last).phase === 'running'`)
    const shown = await page.evaluate<string>(`document.getElementById('rows').innerText`)
    const count = await points()
    await late(old)
    assert.match(shown, /of 999/)
    assert.doesNotMatch(await page.innerText('#rows'), /of 1,000/)
    assert.ok((await points()) - count <= 1 && (await points()) < before + 1, 'the chart begins anew')
    const seconds = await page.evaluate<number[]>(
      `Chart.getChart('chart').data.datasets.flatMap(({ data }) => data.map(({ x }) => x))`,
    )
    assert.ok(Math.max(...seconds) < 60, `${seconds}`)
  })

  it('hints at a TIMEOUT below SLEEP, and at knobs that take very long', async () => {
    const page = await open()
    const hint = () => page.innerText('#hint')
    assert.equal(await hint(), '')
    await set(page, { num: 10, sleepMs: 200, timeoutMs: 199 })
    assert.match(await hint(), /^TIMEOUT \(199 ms\) is shorter than SLEEP \(200 ms\)/)
    await set(page, { timeoutMs: 200 })
    assert.equal(await hint(), '')
    await set(page, { num: 15_000 })
    assert.match(await hint(), /^SLEEP alone makes this run last 150 minutes/)
    await page.check('input[value=none]', { force: true })
    assert.equal(await hint(), '', 'without a lock nobody waits')
  })

  it('starts nothing with knobs out of bounds, and shows which', async () => {
    const page = await open()
    await set(page, { processes: 11 })
    await page.click('#start')
    assert.equal(await page.evaluate(`document.activeElement.name`), 'processes')
    assert.equal((await server.told('anything', () => true)).run, 0)
  })

  it('is worked with the keyboard alone: start, stop, continue, kill', async () => {
    const page = await open(400)
    await set(page, { num: 1000, delayMs: 50 })
    const press = async (label: string) => {
      for (let tabs = 0; tabs < 60; tabs++) {
        await page.keyboard.press('Tab')
        const focused = await page.evaluate<string>(
          `document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText`,
        )
        if (focused === label) return page.keyboard.press('Enter')
      }
      throw new Error(`${label} is not reached`)
    }
    await press('Start')
    await waitForState(page, 2, 'pausing')
    await press('stop process 2')
    await waitForState(page, 2, 'stopped')
    await press('continue process 2')
    await waitFor(page, `!document.querySelectorAll('#rows tr')[2].cells[1].innerText.includes('stopped')`)
    await press('kill process 2')
    await waitForState(page, 2, 'killed')
    await press('End the run')
    await verdict(page)
    assert.deepEqual(complaints, [])
  })

  it('says that the server has ended', async () => {
    const page = await open()
    await waitFor(page, `document.getElementById('verdict').innerText === 'Ready'`)
    server.child.kill('SIGKILL')
    await waitFor(page, `/server has ended/.test(document.getElementById('verdict').innerText)`)
  })
})
