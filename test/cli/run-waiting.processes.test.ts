import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { holdForLong } from './long-holder.ts'
import { needsPseudoTerminal, pslockInTerminal } from './pseudo-terminal.ts'
import { killWhatIsLeft, startPslock } from './run-pslock.ts'

const CLEAR_LINE = '\r\x1b[K'

/** What pslock run says while it waits. */
describe('the waiting of pslock run', () => {
  killWhatIsLeft()
  const crew = useCrew()
  const at = useFolder()

  before(function () {
    if (process.platform === 'linux') return
    console.log('        skipped: only Linux tells who holds a lock as soon as it is held')
    this.skip()
  })

  it('is one plain line where stderr is no terminal', async () => {
    const holder = await crew.process()
    await holdForLong(holder, at('db'))
    const running = startPslock('run', at('db'), '--', 'echo', 'mine')
    await until('it says that it waits', () => running.output.stderr !== '')
    // Long enough for a second one.
    await sleep(1300)
    await holder.call('release')
    const { code, stdout, stderr } = await running.outcome
    assert.deepEqual([code, stdout], [0, 'mine\n'])
    const escaped = at('db.lock').replaceAll('.', '\\.')
    assert.match(
      stderr,
      new RegExp(
        `^pslock: waiting for ${escaped}: held by ${holder.pid} \\(.*lock-worker.*\\) for \\d+\\.\\d s\n$`,
      ),
    )
  })

  it('is silent with --quiet', async () => {
    const holder = await crew.process()
    await holdForLong(holder, at('db'))
    const running = startPslock('run', at('db'), '--quiet', '--timeout', '1.5', '--', 'true')
    const { code, stdout, stderr } = await running.outcome
    assert.deepEqual([code, stdout, stderr], [75, '', ''])
  })

  describe('on a terminal', () => {
    needsPseudoTerminal()

    const drawn = (shown: string) => shown.split(CLEAR_LINE).filter((text) => text.includes('waiting'))

    it('is one line that is rewritten, and cleared when the lock is got', async () => {
      const holder = await crew.process()
      await holdForLong(holder, at('db'))
      const terminal = pslockInTerminal(['run', at('db'), '--', 'echo', 'mine'], { columns: 1000 })
      await until('it was rewritten', () => drawn(terminal.shown()).length >= 3)
      await holder.call('release')
      assert.equal((await terminal.outcome).code, 0)
      const shown = terminal.shown()
      const ages = drawn(shown).map((line) => {
        const match = /^waiting for .*db\.lock: held by (\d+) \((.+)\) for (\d+\.\d) s$/.exec(line)
        assert.ok(match, JSON.stringify(line))
        assert.equal(Number(match[1]), holder.pid)
        return Number(match[3])
      })
      assert.ok(ages.at(-1)! > ages[0]!, `${ages}`)
      assert.ok(shown.startsWith(CLEAR_LINE))
      assert.ok(shown.endsWith(`${CLEAR_LINE}mine\r\n`), JSON.stringify(shown))
    })

    it('fits the terminal, whatever the command of the holder', async () => {
      const holder = await crew.process({ execArgv: [...process.execArgv, `--title=${'二'.repeat(300)}`] })
      await holdForLong(holder, at('db'))
      const terminal = pslockInTerminal(['run', at('db'), '--', 'true'], { columns: 120 })
      await until('it is drawn', () => drawn(terminal.shown()).length >= 2)
      await holder.call('release')
      await terminal.outcome
      for (const line of drawn(terminal.shown())) {
        assert.match(line, /…$/)
        const columns = [...line].reduce((sum, glyph) => sum + (glyph === '二' ? 2 : 1), 0)
        assert.ok(columns < 120, `${columns} columns: ${line}`)
      }
    })

    it('has colours, unless NO_COLOR says otherwise', async () => {
      const holder = await crew.process()
      await holdForLong(holder, at('db'))
      for (const [NO_COLOR, coloured] of [
        ['1', false],
        [undefined, true],
      ] as const) {
        const terminal = pslockInTerminal(['run', at('db'), '--timeout', '0.6', '--', 'true'], {
          // Node takes a terminal under CI for one without colours.
          env: { NO_COLOR, CI: undefined, FORCE_COLOR: undefined },
        })
        assert.equal((await terminal.outcome).code, 75)
        const [line = ''] = drawn(terminal.shown())
        assert.equal(stripVTControlCharacters(line) !== line, coloured, JSON.stringify(line))
      }
    })

    it('is the plain line on a terminal that cannot rewrite', async () => {
      const holder = await crew.process()
      await holdForLong(holder, at('db'))
      const terminal = pslockInTerminal(['run', at('db'), '--', 'true'], { env: { TERM: 'dumb' } })
      await until('it waits', () => terminal.shown().includes('waiting'))
      await holder.call('release')
      await terminal.outcome
      assert.match(terminal.shown(), /^pslock: waiting for [^\r]*\r\n$/)
    })
  })
})
