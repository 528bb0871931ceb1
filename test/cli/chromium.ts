import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const PLACES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

/** Where a Chromium of this machine is, if there is one; the variable CHROMIUM names another. */
const CHROMIUM: string | undefined = PLACES.find((place) => place !== undefined && existsSync(place))

/** Starts it without a window, and without anything that it would fetch by itself. */
function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM as string,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** One Chromium for the tests of a `describe`, which are skipped, and say so, where there is none. */
export function useChromium(): () => Browser {
  let browser: Browser | undefined
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
  return () => browser as Browser
}
