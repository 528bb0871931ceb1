import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { until } from '../fixtures/folder.ts'
import { useChromium } from './chromium.ts'
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
  const browser = useChromium()
  let server: DemoServerProcess
  let complaints: string[] = []

  beforeEach(async () => {
    complaints = []
    server = await startDemoServer()
  })

  afterEach(async () => {
    // Its reconnects would be noted in the next test.
    await Promise.all(
      browser()
        .contexts()
        .map((context) => context.close()) ?? [],
    )
    server.child.kill('SIGINT')
    await server.outcome
  })

  async function open(width = 1280, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
    const page = await browser().newPage({ viewport: { width, height: 900 }, colorScheme })
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
    for (const [name, value] of Object.entries(knobs))
      await page.fill(`input[name=${name}]`, Number.isNaN(value) ? '' : String(value))
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
        /^✓ With pslock: expected (9\d\d), found \1\nNo record that was acknowledged is lost\./,
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
      /^✗ No lock: expected 6\d\d, found \d+\n\d+ records are lost, and no program was told\./,
    )
    // Chosen for the next run; what is shown is still of the last.
    await page.check('input[value=pslock]', { force: true })
    assert.match(await verdict(page), /^✗ No lock:/)
    const shown = await page.innerText('#verdict')
    await page.reload()
    assert.match(await verdict(page), /^✗ No lock:/)
    assert.equal(await page.innerText('#verdict'), shown)
    assert.equal(await page.evaluate(`form.elements.way.value`), 'none')
    assert.equal(await page.inputValue('input[name=num]'), '200')
    assert.match(await page.innerText('#command-words'), /^$|has ended/)
    assert.deepEqual(complaints, [])
  })

  it('no lock, and process 1 is killed before it compacts: that nothing is lost is no merit', async () => {
    const page = await open()
    await begin(page, 'none', { num: 200, delayMs: 20 })
    await waitForState(page, 1, 'pausing')
    await page.click('[aria-label="kill process 1"]')
    await waitForState(page, 1, 'killed')
    assert.match(
      await verdict(page),
      /^△ No lock: expected .*\n.* Process 1 ended before it compacted the file, so that nothing could be lost/,
    )
    assert.match(await page.innerText('#rate-words'), /^average/)
    assert.match(await page.innerText('#rate'), /^\d+$/)
  })

  it('while the web site is stopped or killed, its last answer is not shown as if it were one', async () => {
    const page = await open()
    await begin(page, 'pslock', { num: 1000, delayMs: 50 })
    await waitFor(page, `document.getElementById('answer').innerText.startsWith('✓')`)
    await page.click('[aria-label="stop web site"]')
    await waitFor(page, `/^… [\\d.]+ s$/.test(document.getElementById('answer').innerText)`)
    assert.match(await page.innerText('#answer-text'), /^Waiting for the answer\. The web site is stopped\./)
    await page.click('[aria-label="kill web site"]')
    await waitFor(page, `document.getElementById('answer-text').innerText === 'The web site is killed.'`)
    assert.equal(await page.innerText('#answer'), '–')
  })

  it('one who holds the lock and is stopped is waited for by name', async () => {
    const page = await open()
    await begin(page, 'pslock', { num: 1000, sleepMs: 500 })
    const rows = `[...document.querySelectorAll('#rows tr')]`
    const has = (state: string) => `${rows}.find((one) => /^[■…]? ?${state}/.test(one.cells[1].innerText))`
    for (;;) {
      await waitFor(
        page,
        `(() => {
        const row = ${rows}.slice(1).find((one) => one.cells[1].innerText.startsWith('● holding'))
        row?.querySelector('[aria-label^=stop]').click()
        return row !== undefined
      })()`,
      )
      await waitFor(page, `${has('(holding, )?stopped')} !== undefined`)
      if (await page.evaluate(`${has('holding, stopped')} !== undefined`)) break
      // What the page shows is some time old: it had given the lock back already.
      await page.evaluate(`${has('stopped')}.querySelector('[aria-label^=continue]').click()`)
      await waitFor(page, `${has('stopped')} === undefined`)
    }
    const name = await page.evaluate<string>(
      `${rows}.find((one) => one.cells[1].innerText.startsWith('■ holding')).querySelector('span').innerText`,
    )
    await waitFor(
      page,
      `${rows}.filter((one) => /waiting.* for ${name}$/s.test(one.cells[1].innerText)).length >= 2`,
    )
    const height = await page.evaluate<number>(`document.getElementById('rows').getBoundingClientRect().top`)
    assert.ok(height < 800, `the table begins at ${height} px`)
    assert.match(await page.innerText('#rows'), /process 1 pid \d+/)
  })

  it('a slow run to watch is one click, and so is the way back', async () => {
    const page = await open()
    await page.check('#slow')
    assert.match(await page.innerText('#knobs-words'), /NUM 150, DELAY 100 ms, SLEEP 60 ms/)
    await page.uncheck('#slow')
    assert.match(await page.innerText('#knobs-words'), /NUM 15,000, DELAY 0 ms, SLEEP 0 ms/)
  })

  it('shows what SQLite refuses', async function () {
    if (!HAS_SQLITE) return this.skip()
    const page = await open(400)
    await page.uncheck('#visitors')
    await begin(page, 'sqlite', { num: 40, sleepMs: 20, timeoutMs: 5 })
    assert.match(
      await verdict(page),
      /^△ SQLite: expected 120, found \d+\n.* (\d+ were refused, and their programs know|1 was refused, and its program knows) it\./,
    )
    assert.match(await page.innerText('#last-error'), /database is locked$/)
    assert.ok((await scrollWidth(page)) <= 400)
    assert.deepEqual(complaints, [])
  })

  it('late news of an earlier run do not reach the rows and the chart of the next', async () => {
    const page = await browser().newPage()
    await page.addInitScript(`
      const Real = EventSource
      globalThis.EventSource = class extends Real {
        constructor(...args) { super(...args); globalThis.source = this; this.addEventListener('message', ({ data }) => { globalThis.last = data }) }
      }`)
    await page.goto(server.url)
    const points = `Math.max(...Chart.getChart('chart').data.datasets.map(({ data }) => data.length))`
    /** How many points there were before and after news, with none in between. */
    const tell = (data: string) =>
      page.evaluate<[number, number]>(
        `(() => {
        const before = ${points}
        source.dispatchEvent(new MessageEvent('message', { data: ${JSON.stringify(data)} }))
        return [before, ${points}]
      })()`,
      )

    await begin(page, 'pslock', { num: 1000, delayMs: 100 })
    await waitForState(page, 1, 'pausing')
    await waitFor(page, `JSON.parse(last).rows[1].done > 5`)
    const old = await page.evaluate<string>('last')
    const [before, after] = await tell(old.replace('"elapsedMs":', '"elapsedMs":1e5,"was":'))
    assert.equal(after, before + 1, 'news of the present run are shown')

    await begin(page, 'pslock', { num: 999, delayMs: 500 })
    await waitFor(page, `JSON.parse(last).run === 2 && JSON.parse(last).phase === 'running'`)
    const shown = await page.evaluate<string>(`document.getElementById('rows').innerText`)
    const [newBefore, newAfter] = await tell(old)
    assert.match(shown, /of 999/)
    assert.doesNotMatch(await page.innerText('#rows'), /of 1,000/)
    assert.ok(newAfter === newBefore && newAfter < after, 'the chart begins anew')
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
    const words = [await page.innerText('.lead'), await page.innerText('#knobs-words')]
    await set(page, { num: Number.NaN, processes: -2 })
    assert.match(await page.innerText('#hint'), /^Processes must be a whole number from 1 to 10\./)
    assert.deepEqual([await page.innerText('.lead'), await page.innerText('#knobs-words')], words)
    assert.equal(await page.isDisabled('input[name=wal]'), true)
    await set(page, { num: 5, processes: 11 })
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
    assert.match(await page.innerText('#rows'), /process 1\s+pid \d+\s+– ended[\s\S]*✗ killed/)
    assert.deepEqual(complaints, [])
  })

  it('says that the server has ended, and asks for no more records', async () => {
    const page = await open()
    await begin(page, 'pslock', { num: 1000, delayMs: 50 })
    await waitFor(page, `document.getElementById('answer').innerText.startsWith('✓')`)
    server.child.kill('SIGKILL')
    await waitFor(page, `/server has ended/.test(document.getElementById('verdict').innerText)`)
    let posts = 0
    page.on('request', (request) => {
      if (request.method() === 'POST') posts++
    })
    await pause(1500)
    assert.equal(posts, 0)
  })
})
