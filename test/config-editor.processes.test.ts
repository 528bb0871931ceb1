import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { useChromium } from './cli/chromium.ts'
import { killWhatIsLeft, start } from './cli/run-pslock.ts'
import { ROOT } from './fixtures/code.ts'
import { until, useFolder } from './fixtures/folder.ts'

const SERVER = join(ROOT, 'examples/config-editor/server.ts')

describe('examples/config-editor in a browser', function () {
  this.timeout(60_000)
  const at = useFolder()
  killWhatIsLeft()
  const browser = useChromium()
  let url = ''

  beforeEach(async () => {
    const server = start(
      process.execPath,
      ['--import', import.meta.resolve('tsx'), SERVER, at('config.json'), '0'],
      {
        cwd: at(),
      },
    )
    await until('the server says where it is', () => server.output.stdout.includes('/\n'), 30_000)
    url = server.output.stdout.trim()
  })

  const open = async (): Promise<Page> => {
    const context = await browser().newContext({ viewport: { width: 400, height: 800 } })
    const page = await context.newPage()
    await page.goto(url)
    return page
  }
  const change = async (page: Page, name: string, value: string) => {
    await page.fill(`#${name}`, value)
    await page.click(`form.setting:has(#${name}) button`)
  }
  const press = (page: Page, label: string) => page.click(`button:text-is("${label}")`)
  const value = (page: Page, name: string) => page.inputValue(`#${name}`)
  const isOff = (page: Page, label: string) => page.isDisabled(`button:text-is("${label}")`)
  const saved = () => JSON.parse(readFileSync(at('config.json'), 'utf8')).settings

  it('what one changes nobody else sees before it is saved; undo and redo', async () => {
    const [ada, bob] = [await open(), await open()]
    assert.deepEqual([await isOff(ada, 'Undo'), await isOff(ada, 'Redo')], [true, true])
    await change(ada, 'title', '<b>Ada & Co</b>')
    await change(ada, 'color', 'blue')
    await bob.reload()
    assert.deepEqual([await value(ada, 'color'), await value(bob, 'color')], ['blue', 'green'])
    await press(ada, 'Undo')
    assert.deepEqual([await value(ada, 'color'), await isOff(ada, 'Redo')], ['green', false])
    await press(ada, 'Redo')
    assert.equal(await value(ada, 'color'), 'blue')
    assert.match(
      await ada.innerText('ol'),
      /title: Our shop → <b>Ada & Co<\/b>\s+settings\.color: green → blue/,
    )
    await press(ada, 'Save for everybody')
    await bob.reload()
    assert.deepEqual([await value(bob, 'title'), await value(bob, 'color')], ['<b>Ada & Co</b>', 'blue'])
    assert.deepEqual(saved(), {
      ...{ title: '<b>Ada & Co</b>', color: 'blue', limit: '20', mail: 'shop@example.org' },
    })
  })

  it('two processes answer, and both know the changes', async () => {
    const page = await open()
    await change(page, 'title', 'mine')
    const seen = new Set<string>()
    for (let time = 0; time < 20 && seen.size < 2; time++) {
      await page.reload()
      seen.add(await page.innerText('footer'))
      assert.equal(await value(page, 'title'), 'mine')
    }
    assert.equal(seen.size, 2)
  })

  it('who changes the same is asked which of the two to take', async () => {
    const [ada, bob] = [await open(), await open()]
    await change(ada, 'color', 'blue')
    await change(ada, 'title', 'of Ada')
    await change(bob, 'color', 'red')
    await change(bob, 'mail', 'bob@example.org')
    await press(bob, 'Save for everybody')
    await press(ada, 'Save for everybody')
    assert.match(await ada.innerText('h1'), /Somebody else has changed the same/)
    assert.match(await ada.innerText('table'), /settings\.color\s+green\s+blue\s+red/)
    if (process.env.PSLOCK_SCREENSHOT)
      await ada.screenshot({ path: `${process.env.PSLOCK_SCREENSHOT}-conflict.png` })
    // What is there now was not seen yet: it is shown first.
    await change(bob, 'color', 'pink')
    await press(bob, 'Save for everybody')
    await ada.check('input[value="mine"]')
    await press(ada, 'Save')
    assert.match(await ada.innerText('table'), /settings\.color\s+green\s+blue\s+pink/)
    await ada.check('input[value="mine"]')
    await press(ada, 'Save')
    assert.match(await ada.innerText('body'), /Nothing is changed yet/)
    assert.deepEqual(saved(), { title: 'of Ada', color: 'blue', limit: '20', mail: 'bob@example.org' })
  })

  it('the slower of two tabs is told; so is who gives a wrong value; both can go on', async () => {
    const page = await open()
    const tab = await page.context().newPage()
    await tab.goto(url)
    await change(page, 'limit', 'many')
    await change(tab, 'color', 'red')
    assert.match(await tab.innerText('body'), /in another tab/)
    await tab.click('a')
    assert.equal(await value(tab, 'limit'), 'many')
    await press(tab, 'Save for everybody')
    assert.match(await tab.innerText('body'), /must be a number/)
    await tab.click('a')
    await change(tab, 'limit', '30')
    if (process.env.PSLOCK_SCREENSHOT)
      await tab.screenshot({ path: `${process.env.PSLOCK_SCREENSHOT}-editor.png` })
    await press(tab, 'Save for everybody')
    assert.equal(saved().limit, '30')
    await change(tab, 'limit', '40')
    await press(tab, 'Cancel')
    assert.equal(await value(tab, 'limit'), '30')
  })
})
