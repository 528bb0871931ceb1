import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { needsPseudoTerminal, pslockInTerminal } from './pseudo-terminal.ts'
import { killWhatIsLeft, PSLOCK, type Running, start } from './run-pslock.ts'

/** Writes a line for each signal into the file that it is given, the first one when it is ready for them. */
const LISTENER = `
  const { appendFileSync } = require('node:fs')
  const say = (line) => appendFileSync(process.argv[1], line + '\\n')
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGCONT', 'SIGWINCH'])
    process.on(signal, say)
  process.on('SIGTERM', () => { say('SIGTERM'); process.exit(9) })
  setTimeout(process.exit, 60_000, 1)
  say('ready ' + process.ppid)
`

describe('signals to pslock run', () => {
  killWhatIsLeft()
  const at = useFolder()
  const lines = () => (existsSync(at('log')) ? readFileSync(at('log'), 'utf8').split('\n').slice(0, -1) : [])
  const listener = () => [at('db'), '--', process.execPath, '-e', LISTENER, at('log')]
  const isFree = () => {
    const held = new PsLock(at('db')).tryAcquire()
    held?.release()
    return held !== undefined
  }

  /** In a session of its own, so without a terminal even where the tests have one. */
  const startApart = (...args: string[]) =>
    start(process.execPath, [PSLOCK, 'run', ...args], { detached: true })

  it('reach the command, each of them', async () => {
    const running = startApart(...listener())
    await until('the command runs', () => lines().length === 1)
    const names = [
      'SIGHUP',
      'SIGINT',
      'SIGQUIT',
      'SIGUSR1',
      'SIGUSR2',
      'SIGALRM',
      'SIGCONT',
      'SIGWINCH',
      'SIGTERM',
    ] as const
    for (const [index, name] of names.entries()) {
      running.child.kill(name)
      await until(`${name} has arrived`, () => lines().length === index + 2)
      assert.equal(lines().at(-1), name)
      if (name !== 'SIGTERM') assert.equal(isFree(), false)
    }
    assert.equal((await running.outcome).code, 9)
    assert.ok(isFree())
  })

  it('sent to the whole group reach the command once, sent to pslock alone too', async () => {
    const running = startApart(...listener())
    await until('the command runs', () => lines().length === 1)
    const group = -running.child.pid!
    const count = (name: string) => lines().filter((line) => line === name).length
    let sent = 0
    for (const to of [group, running.child.pid!, group]) {
      for (const name of ['SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGALRM'] as const) process.kill(to, name)
      sent++
      for (const name of ['SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGALRM']) {
        await until(`${name} has arrived`, () => count(name) >= sent)
      }
      // Whatever pslock had to pass on before is through when this one is.
      running.child.kill('SIGUSR2')
      await until('another signal is through', () => count('SIGUSR2') === sent)
    }
    for (const name of ['SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGALRM']) assert.equal(count(name), sent, name)
    process.kill(group, 'SIGTERM')
    assert.equal((await running.outcome).code, 9)
    assert.equal(count('SIGTERM'), 1)
  })

  it('leave nothing behind: the process that watches the group ends with pslock, however that ends', async function () {
    if (process.platform !== 'linux') this.skip()
    const group = (pid: number) =>
      readdirSync('/proc').filter((name) => /^\d+$/.test(name) && groupOf(name) === String(pid))
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const running = startApart(at('db'), '--', 'sh', '-c', 'echo in; exec sleep 60')
      await until('the command runs', () => running.output.stdout !== '')
      await until('all of it is there', () => group(running.child.pid!).length === 3)
      running.child.kill(signal)
      await once(running.child, 'exit')
      // After SIGKILL the command goes on.
      await until(
        'the rest has ended',
        () => group(running.child.pid!).length === (signal === 'SIGKILL' ? 1 : 0),
      )
      if (signal === 'SIGKILL') process.kill(-running.child.pid!, 'SIGKILL')
      await running.outcome
    }
  })

  describe('SIGHUP that is ignored', () => {
    const script =
      'echo in; trap "echo told" USR1; while [ ! -e "$0" ]; do sleep 0.02; done; kill -HUP $$; echo "went on"'
    const command = () => ['sh', '-c', script, at('go')]
    const ways: [what: string, program: () => [string, string[]]][] = [
      ['by --nohup', () => [process.execPath, [PSLOCK, 'run', at('db'), '--nohup', '--', ...command()]]],
      [
        'by nohup(1) from a shell',
        () => [
          'bash',
          ['-c', 'nohup "$@"', 'bash', process.execPath, PSLOCK, 'run', at('db'), '--', ...command()],
        ],
      ],
      [
        "by the shell that starts it (trap '' HUP)",
        () => [
          'sh',
          [
            '-c',
            `trap '' HUP; "$@"; exit $?`,
            'sh',
            process.execPath,
            PSLOCK,
            'run',
            at('db'),
            '--',
            ...command(),
          ],
        ],
      ],
    ]
    for (const [what, program] of ways) {
      it(`${what} stays ignored, by pslock and by the command`, async () => {
        const running = start(...program(), { detached: true })
        await until('the command runs', () => running.output.stdout === 'in\n')
        const holder = new PsLock(at('db')).holders()[0]?.pid as number
        process.kill(holder, 'SIGHUP')
        // Whatever it had to pass on is through when this one is.
        process.kill(holder, 'SIGUSR1')
        await until('the command was told', () => running.output.stdout.includes('told'))
        assert.equal(isFree(), false)
        writeFileSync(at('go'), '')
        const { code, stdout } = await running.outcome
        assert.deepEqual([code, stdout], [0, 'in\ntold\nwent on\n'])
      })
    }

    it('with --nohup a command that is not there is 127 as ever', async () => {
      const { code } = await startApart(at('db'), '--nohup', '--', 'no-such-command').outcome
      assert.equal(code, 127)
    })
  })

  it('end it by the signal that ended the command', async () => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      const running = startApart(at('db'), '--', 'sh', '-c', 'echo in; exec sleep 60')
      await until('the command runs', () => running.output.stdout !== '')
      running.child.kill(name)
      assert.equal((await running.outcome).signal, name)
    }
  })

  describe('while it waits', () => {
    const waiting = async (): Promise<Running> => {
      const running = startApart(at('db'), '--', 'touch', at('it-ran'))
      await until('it waits', () => running.output.stderr.includes('waiting'))
      return running
    }

    it('end it at once, and leave nothing', async () => {
      const lock = new PsLock(at('db'))
      const held = await lock.acquire()
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'] as const) {
        const { child, outcome } = await waiting()
        child.kill(name)
        assert.equal((await outcome).signal, name)
      }
      assert.deepEqual(
        lock.holders().map(({ pid }) => pid),
        [process.pid],
      )
      held.release()
      assert.ok(isFree())
      assert.ok(!existsSync(at('it-ran')))
    })

    it('leave it alone where they end nobody, and reach the command later on', async () => {
      const held = await new PsLock(at('db')).acquire()
      const { child, outcome, output } = startApart(...listener())
      await until('it waits', () => output.stderr.includes('waiting'))
      child.kill('SIGCONT')
      child.kill('SIGWINCH')
      held.release()
      await until('the command runs', () => lines().length === 1)
      for (const name of ['SIGCONT', 'SIGWINCH', 'SIGTERM'] as const) {
        child.kill(name)
        await until(`${name} has arrived`, () => lines().at(-1) === name)
      }
      assert.equal((await outcome).code, 9)
    })
  })

  describe('from a terminal', () => {
    needsPseudoTerminal()

    it('Ctrl-C reaches the command once', async () => {
      const terminal = pslockInTerminal(['run', ...listener()])
      await until('the command runs', () => lines().length === 1)
      const pid = Number(lines()[0]?.split(' ')[1])
      // Again and again, since two signals in quick succession may become one.
      const presses = 10
      const count = (name: string) => lines().filter((line) => line === name).length
      for (let press = 1; press <= presses; press++) {
        terminal.type('\x03')
        await until('Ctrl-C has arrived', () => count('SIGINT') >= press)
        // Whatever pslock had to pass on before is through when this one is.
        process.kill(pid, 'SIGUSR2')
        await until('another signal is through', () => count('SIGUSR2') === press)
      }
      process.kill(pid, 'SIGTERM')
      assert.equal((await terminal.outcome).code, 9)
      assert.equal(count('SIGINT'), presses)
    })

    it('Ctrl-C while it waits: 130, and the line is gone', async () => {
      const held = await new PsLock(at('db')).acquire()
      const terminal = pslockInTerminal(['run', at('db'), '--', 'touch', at('it-ran')])
      await until('it waits', () => terminal.shown().includes('held by'))
      terminal.type('\x03')
      assert.equal((await terminal.outcome).code, 130)
      assert.ok(terminal.shown().endsWith('\r\x1b[K'), JSON.stringify(terminal.shown()))
      held.release()
      assert.ok(!existsSync(at('it-ran')))
    })
  })

  it('SIGSTOP keeps the lock, and SIGCONT is passed on', async function () {
    if (process.platform !== 'linux') this.skip()
    const { child, outcome } = startApart(...listener())
    await until('the command runs', () => lines().length === 1)
    const state = () => /\) (\w) /.exec(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))?.[1]
    child.kill('SIGSTOP')
    await until('pslock is stopped', () => state() === 'T')
    assert.equal(isFree(), false)
    child.kill('SIGCONT')
    await until('the command is told', () => lines().includes('SIGCONT'))
    child.kill('SIGTERM')
    assert.equal((await outcome).code, 9)
  })

  it('the loop of a shell ends at Ctrl-C, as it should', async () => {
    writeFileSync(at('loop'), `for i in 1 2 3; do "$@"; echo "went on: $?"; done`)
    const args = [
      at('loop'),
      process.execPath,
      PSLOCK,
      'run',
      at('db'),
      '--',
      'sh',
      '-c',
      'echo in; exec sleep 60',
    ]
    const running = start('bash', args, { detached: true })
    await until('the command runs', () => running.output.stdout === 'in\n')
    // As the terminal does: to everybody in the foreground.
    process.kill(-running.child.pid!, 'SIGINT')
    assert.equal((await running.outcome).stdout, 'in\n')
  })
})

/** The process group; zombies have none here. */
function groupOf(pid: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' ? undefined : group
  } catch {
    return undefined
  }
}
