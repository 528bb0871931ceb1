import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Status } from '../../cli/status/status.ts'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { holdForLong } from './long-holder.ts'
import { needsPseudoTerminal, pslockInTerminal } from './pseudo-terminal.ts'
import { killWhatIsLeft, PSLOCK, pslock, startPslock } from './run-pslock.ts'

describe('pslock status --watch', () => {
  killWhatIsLeft()
  const crew = useCrew()
  const at = useFolder()

  before(function () {
    if (process.platform === 'linux') return
    console.log('        skipped: only Linux tells who holds a lock as soon as it is held')
    this.skip()
  })

  it('prints a block each time where stdout is no terminal, and exits 0 at Ctrl-C', async () => {
    writeFileSync(at('db'), '')
    const running = startPslock('status', at('db'), '--watch', '0.1')
    const holder = await crew.process()
    await until('it says free', () => running.output.stdout.includes('db.lock: free'))
    await holder.call('acquire', at('db'))
    await until(
      'it says who',
      () =>
        running.output.stdout.includes(` ${holder.pid} `) ||
        running.output.stdout.includes(`\n${holder.pid} `),
    )
    await holder.call('release')
    await until('it says free again', () => /holding.*db\.lock: free/s.test(running.output.stdout))
    running.child.kill('SIGINT')
    const { code, signal, stdout, stderr } = await running.outcome
    assert.deepEqual([code, signal, stderr], [0, null, ''])
    assert.ok(!stdout.includes('\x1b'))
    for (const block of stdout.trimEnd().split('\n\n')) {
      assert.match(
        block,
        /^\d{4}-\d\d-\d\dT[\d:.]+Z\n.*db\.lock: (free$|held\n *PID +COMMAND +MODE +STATE +SINCE\n)/,
      )
    }
  })

  it('prints one JSON object a line with --json', async () => {
    const running = startPslock('status', at('db'), '--json', '--watch', '0.1')
    const holder = await crew.process()
    await holder.call('acquire', at('db'), { mode: 'shared' })
    const before = running.output.stdout.length
    await until('three more lines', () => running.output.stdout.slice(before).split('\n').length > 4)
    running.child.kill('SIGINT')
    const { code, stdout } = await running.outcome
    assert.equal(code, 0)
    const found = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Status & { at: string })
    assert.deepEqual(
      found.map(({ at }) => at),
      found.map(({ at }) => at).sort(),
    )
    const last = found.at(-1)!
    assert.equal(last.held, true)
    assert.deepEqual(
      last.holders.map(({ pid, mode, state }) => [pid, mode, state]),
      [[holder.pid, 'shared', 'holding']],
    )
  })

  it('ends quietly when nobody reads any more', async () => {
    const running = startPslock('status', at('db'), '--watch', '0.1')
    await once(running.child.stdout!, 'data')
    running.child.stdout?.destroy()
    const { code, stderr } = await running.outcome
    assert.deepEqual([code, stderr], [0, ''])
  })

  it('SIGTERM ends it as it ends others', async () => {
    const running = startPslock('status', at('db'), '--watch', '0.1')
    await once(running.child.stdout!, 'data')
    running.child.kill('SIGTERM')
    assert.equal((await running.outcome).signal, 'SIGTERM')
  })

  it('takes no interval that is none', async () => {
    for (const interval of ['0', 'often', '-1']) {
      const { code, stderr } = await pslock('status', at('db'), `--watch=${interval}`)
      assert.equal(code, 2)
      assert.match(stderr, /number of seconds from 0\.1/)
    }
    // The file is taken for the interval here: the message must say how to write it.
    const { code, stderr } = await pslock('status', '--watch', at('db'))
    assert.equal(code, 2)
    assert.match(stderr, /behind the file/)
  })

  describe('on a terminal', () => {
    needsPseudoTerminal()

    const ENTER = '\x1b[?1049h\x1b[?25l'
    const LEAVE = '\x1b[?25h\x1b[?1049l'

    it('draws in place on the alternate screen, and gives the terminal back at Ctrl-C', async () => {
      const holder = await crew.process({ execArgv: [...process.execArgv, `--title=${'t'.repeat(300)}`] })
      await holdForLong(holder, at('db'))
      const terminal = pslockInTerminal(['status', at('db'), '--watch', '0.1'], { columns: 100 })
      const screens = () => terminal.shown().split('\x1b[H').slice(1)
      await until('it was drawn again', () => screens().length >= 3)
      terminal.type('\x03')
      assert.equal((await terminal.outcome).code, 0)
      const shown = terminal.shown()
      assert.ok(shown.startsWith(ENTER), JSON.stringify(shown.slice(0, 50)))
      assert.ok(shown.endsWith(LEAVE), JSON.stringify(shown.slice(-50)))
      assert.equal(shown.split(ENTER).length, 2)
      const lines = screens()[0]!.replaceAll('\x1b[K', '').replaceAll('\x1b[J', '').split('\r\n')
      for (const line of lines) assert.ok(line.length <= 100, `${line.length} columns: ${line}`)
      const row = lines.find((line) => line.includes(String(holder.pid)))
      assert.match(row ?? '', /^ *\d+ {2}.+… {2}exclusive {2}holding {2}\d+\.\d s$/)
    })

    it('gives it back for as long as it is stopped', async function () {
      if (process.platform !== 'linux') this.skip()
      const holder = await crew.process()
      await holdForLong(holder, at('db'))
      const command = [process.execPath, PSLOCK, 'status', at('db'), '--watch', '0.1']
      const script = 'echo pid $$; exec "$@"'
      const terminal = pslockInTerminal(['run', at('other'), '--', 'sh', '-c', script, 'sh', ...command])
      await until('it is drawn', () => terminal.shown().includes('holding'))
      const pid = Number(/pid (\d+)/.exec(terminal.shown())?.[1])
      const state = () => /\) (\w) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
      process.kill(pid, 'SIGTSTP')
      await until('it is stopped', () => state() === 'T' && terminal.shown().endsWith(LEAVE))
      process.kill(pid, 'SIGCONT')
      await until('it is drawn again', () => terminal.shown().split(ENTER).length === 3)
      terminal.type('\x03')
      assert.equal((await terminal.outcome).code, 0)
      assert.ok(terminal.shown().endsWith(LEAVE))
    })

    it('gives the terminal back at SIGTERM and at SIGHUP', async () => {
      for (const [name, code] of [
        ['SIGTERM', 143],
        ['SIGHUP', 129],
      ] as const) {
        const holder = await crew.process()
        await holder.call('acquire', at(name))
        const terminal = pslockInTerminal([
          'run',
          at('other'),
          '--',
          'sh',
          '-c',
          'echo pid $$; exec "$@"',
          'sh',
          process.execPath,
          PSLOCK,
          'status',
          at(name),
          '--watch',
        ])
        await until('it is drawn', () => terminal.shown().includes('holding'))
        process.kill(Number(/pid (\d+)/.exec(terminal.shown())?.[1]), name)
        assert.equal((await terminal.outcome).code, code)
        assert.ok(terminal.shown().endsWith(LEAVE))
      }
    })
  })
})
