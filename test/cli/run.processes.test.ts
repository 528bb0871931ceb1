import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { killWhatIsLeft, PSLOCK, pslock, start, startPslock } from './run-pslock.ts'

describe('pslock run', () => {
  killWhatIsLeft()
  const at = useFolder()
  const run = (...args: string[]) => pslock('run', at('db'), ...args)
  const isFree = (mode: 'exclusive' | 'shared' = 'exclusive') => {
    const held = new PsLock(at('db')).tryAcquire({ mode })
    held?.release()
    return held !== undefined
  }

  describe('is the command, to whoever started it', () => {
    it('its exit code', async () => {
      for (const code of [0, 1, 7, 255])
        assert.equal((await run('--', 'sh', '-c', `exit ${code}`)).code, code)
    })

    it('the signal it died by; where that would dump our core as well, 128 + n', async () => {
      for (const name of ['SIGTERM', 'SIGKILL', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGALRM']) {
        const { code, signal } = await run('--', 'sh', '-c', `kill -${name.slice(3)} $$`)
        assert.deepEqual({ code, signal }, { code: null, signal: name })
      }
      assert.equal((await run('--', 'sh', '-c', 'ulimit -c 0; kill -SEGV $$')).code, 139)
      assert.equal((await run('--', 'sh', '-c', 'kill -PIPE $$')).code, 141)
    })

    it('its arguments: spaces, quotes, nothing at all, leading dashes, another "--"', async () => {
      const words = [
        'a b',
        '',
        '--timeout',
        '-x',
        '--help',
        '--',
        'it\'s "so"',
        '*',
        '$HOME',
        'two\nlines',
        'é',
      ]
      const script = 'console.log(JSON.stringify(process.argv.slice(1)))'
      const { stdout, code } = await run('--shared', '--', process.execPath, '-e', script, '--', ...words)
      assert.equal(code, 0)
      assert.deepEqual(JSON.parse(stdout), words)
    })

    it('its stdin, stdout and stderr', async () => {
      const text = 'a line of some length, again and again\n'.repeat(50_000)
      const command = ['sh', '-c', 'cat; echo and this >&2']
      const running = start(process.execPath, [PSLOCK, 'run', at('db'), '--', ...command], {
        stdio: ['pipe', 'pipe', 'pipe'],
      })
      running.child.stdin?.end(text)
      const { stdout, stderr } = await running.outcome
      assert.ok(stdout === text, `${stdout.length} of ${text.length}`)
      assert.equal(stderr, 'and this\n')
    })

    it('more descriptors, by --pass-fds', async () => {
      const script = `"$@" 3>${at('three')} 7>${at('seven')} </dev/null`
      const command = ['--', 'sh', '-c', 'echo 3 >&3; echo 7 >&7; ls /proc/self/fd']
      const args = ['-c', script, 'sh', process.execPath, PSLOCK, 'run', at('db')]
      const { code, stderr } = await start('sh', [...args, '--pass-fds', '3,7', ...command]).outcome
      assert.deepEqual([code, stderr], [0, ''])
      assert.deepEqual([readFileSync(at('three'), 'utf8'), readFileSync(at('seven'), 'utf8')], ['3\n', '7\n'])
      const inherit = ['--no-close', '--pass-fds', '3']
      const both = await start('sh', [
        ...args,
        ...inherit,
        '--',
        'readlink',
        '/proc/self/fd/3',
        '/proc/self/fd/10',
      ]).outcome
      assert.equal(both.stdout, `${at('three')}\n${at('db.lock')}\n`)
      assert.equal((await start('sh', [...args, '--', 'sh', '-c', 'echo 3 >&3']).outcome).code, 2)
    })

    it('but none of Node’s own: a descriptor that pslock was not given is wrong usage', async () => {
      for (let fd = 3; fd < 21; fd += 6) {
        const fds = [0, 1, 2, 3, 4, 5].map((more) => fd + more).join()
        const { code, stderr } = await run('--pass-fds', fds, '--', 'true')
        assert.equal(code, 2, fds)
        assert.match(stderr, /descriptor \d+ of --pass-fds is not open/)
      }
      assert.equal((await run('--pass-fds', 'x', '--', 'true')).code, 2)
      assert.equal((await run('--pass-fds', '1', '--', 'true')).code, 2)
    })

    it('the job slots of make', async function () {
      if (spawnSync('make', ['--version'], { stdio: 'ignore' }).status !== 0) this.skip()
      const inner = `${process.execPath} ${PSLOCK} run ${at('db')} -- sh -c '$(MAKE) -f ${at('Makefile')} inner'`
      const rules = ['all:', `\t+${inner}`, 'inner: one two', 'one two:', '\techo $@']
      writeFileSync(at('Makefile'), rules.join('\n'))
      const env = { MAKEFLAGS: '', MAKELEVEL: '' }
      const made = await start('make', ['-f', at('Makefile'), '-j3', 'all'], { env }).outcome
      assert.equal(made.code, 0, made.stderr)
      assert.doesNotMatch(made.stderr, /jobserver/)
      assert.match(made.stdout, /^one$/m)
    })

    it('a pipe stays blocking for whoever shares it, while we wait and while the command runs', async function () {
      if (process.platform !== 'linux') this.skip()
      const isBlocking = (pid: number) =>
        [1, 2].map((fd) => {
          const flags = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))
          return (Number.parseInt(flags?.[1] ?? '', 8) & 0o4000) === 0
        })
      const lock = new PsLock(at('db'))
      const held = await lock.acquire()
      const running = startPslock('run', at('db'), '--', 'sh', '-c', 'echo in; exec sleep 60')
      await until('it says that it waits', () => running.output.stderr.includes('waiting'))
      assert.deepEqual(isBlocking(running.child.pid!), [true, true])
      held.release()
      await until('the command runs', () => running.output.stdout.includes('in'))
      assert.deepEqual(isBlocking(running.child.pid!), [true, true])
      running.child.kill()
      await running.outcome
    })
  })

  describe('holds the lock', () => {
    it('exclusive while the command runs, and no longer', async () => {
      const running = startPslock(
        'run',
        at('db'),
        '--',
        'sh',
        '-c',
        `echo in; while [ ! -e ${at('go')} ]; do sleep 0.01; done`,
      )
      await until('the command runs', () => running.output.stdout === 'in\n')
      assert.deepEqual([isFree('exclusive'), isFree('shared')], [false, false])
      writeFileSync(at('go'), '')
      assert.equal((await running.outcome).code, 0)
      assert.ok(isFree())
    })

    it('--shared: together with other shared holders, against an exclusive one', async () => {
      // Each goes on only when it has met the other inside.
      const script = 'touch "$1"; for file in "$2" "$3"; do until [ -e "$file" ]; do sleep 0.01; done; done'
      const meet = (mine: string, other: string) =>
        run('--shared', '--', 'sh', '-c', script, 'sh', at(mine), at(other), at('go'))
      const both = [meet('a', 'b'), meet('b', 'a')]
      await until('both are in', () => existsSync(at('a')) && existsSync(at('b')))
      assert.deepEqual([isFree('exclusive'), isFree('shared')], [false, true])
      assert.equal((await run('--no-wait', '--', 'true')).code, 75)
      writeFileSync(at('go'), '')
      for (const { code } of await Promise.all(both)) assert.equal(code, 0)
    })

    it('several at once add up', async () => {
      writeFileSync(at('count'), '0')
      const add = `n=$(cat "$0"); sleep 0.05; echo $((n + 1)) > "$0"`
      const runs = Array.from({ length: 8 }, () => run('--quiet', '--', 'sh', '-c', add, at('count')))
      for (const { code, stderr } of await Promise.all(runs)) assert.deepEqual([code, stderr], [0, ''])
      assert.equal(Number(readFileSync(at('count'), 'utf8')), 8)
    })

    it('against flock(1), both ways', async function () {
      if (spawnSync('flock', ['--version'], { stdio: 'ignore' }).status !== 0) this.skip()
      const tried = await run('--', 'flock', '-n', at('db.lock'), 'true')
      assert.equal(tried.code, 1)
      const flock = spawn('flock', [at('db.lock'), 'sh', '-c', 'echo in; read line'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      await once(flock.stdout, 'data')
      const refused = await run('--no-wait', '--', 'true')
      assert.equal(refused.code, 75)
      assert.match(refused.stderr, new RegExp(`db\\.lock is not free: held by ${flock.pid} \\(flock `))
      const waiting = startPslock('run', at('db'), '--', 'echo', 'mine')
      await until('it waits', () => waiting.output.stderr.includes('waiting for'))
      assert.equal(waiting.output.stdout, '')
      flock.stdin.end('go\n')
      assert.equal((await waiting.outcome).stdout, 'mine\n')
    })

    it('of the lock file itself where the name ends in .lock', async () => {
      const { stdout } = await pslock('run', at('my.lock'), '--', 'sh', '-c', `ls ${at()}`)
      assert.equal(stdout, 'my.lock\n')
    })

    it('alone: the command has no descriptor of it, and what it leaves running does not keep it', async () => {
      const script = 'ls -l /proc/self/fd; sleep 60 >/dev/null 2>&1 & echo pid $!'
      const { stdout } = await run('--', 'sh', '-c', script)
      const pid = Number(/pid (\d+)/.exec(stdout)?.[1])
      try {
        assert.doesNotMatch(stdout, /\.lock/)
        assert.equal(process.kill(pid, 0), true)
        assert.ok(isFree())
      } finally {
        process.kill(pid, 'SIGKILL')
      }
    })

    it('--no-close: as long as the command, and all that has inherited it, whatever happens to pslock', async function () {
      if (process.platform !== 'linux') this.skip()
      const script = 'sleep 60 >/dev/null 2>&1 & echo $$ $!; while [ ! -e "$0" ]; do sleep 0.01; done'
      for (const signal of ['SIGKILL', undefined] as const) {
        const running = startPslock(
          'run',
          at('db'),
          '--no-close',
          '--',
          'sh',
          '-c',
          script,
          at(`go${signal}`),
        )
        await until('the command runs', () => running.output.stdout.endsWith('\n'))
        const [command, background] = running.output.stdout.split(' ').map(Number)
        const holders = () => new PsLock(at('db')).holders().map(({ pid }) => pid)
        try {
          if (signal) running.child.kill(signal)
          else writeFileSync(at('goundefined'), '')
          await once(running.child, 'exit')
          assert.equal(isFree(), false)
          if (signal) assert.ok(holders().includes(command))
          assert.ok(holders().includes(background))
          assert.ok(!holders().includes(running.child.pid))
          writeFileSync(at(`go${signal}`), '')
          await until('the command has ended', () => !holders().includes(command))
          assert.equal(isFree(), false)
        } finally {
          process.kill(background!, 'SIGKILL')
        }
        await until('it is free', () => isFree())
        assert.deepEqual(holders(), [])
      }
    })

    it('--close is what it does anyhow, for those who know it from flock(1)', async () => {
      assert.doesNotMatch((await run('-o', '--', 'ls', '-l', '/proc/self/fd')).stdout, /\.lock/)
    })

    it('not a moment after kill -9, although the command goes on', async () => {
      const running = startPslock('run', at('db'), '--', 'sh', '-c', 'echo $$; exec sleep 60')
      await until('the command runs', () => running.output.stdout.endsWith('\n'))
      const pid = Number(running.output.stdout)
      try {
        assert.equal(isFree(), false)
        running.child.kill('SIGKILL')
        await once(running.child, 'exit')
        assert.ok(isFree())
        assert.equal(process.kill(pid, 0), true)
      } finally {
        process.kill(pid, 'SIGKILL')
      }
    })
  })

  describe('does not run the command', () => {
    const untouched = ['--', 'touch', 'it-ran']
    const elsewhere = (...args: string[]) =>
      start(process.execPath, [PSLOCK, 'run', ...args], { cwd: at() }).outcome
    afterEach(() => assert.ok(!existsSync(at('it-ran'))))

    it('when the lock is not free in time: 75, or the code that was asked for', async () => {
      const held = await new PsLock(at('db')).acquire()
      const outcome = await elsewhere('db', '--timeout', '0.2', ...untouched)
      assert.equal(outcome.code, 75)
      assert.match(
        outcome.stderr,
        new RegExp(
          `^pslock: db\\.lock was not free within \\d+\\.\\d s: held by ${process.pid} \\(.+\\) for \\d+\\.\\d s\n$`,
        ),
      )
      assert.equal((await elsewhere('db', '-n', '-E', '9', ...untouched)).code, 9)
      assert.equal((await elsewhere('db', '-w', '0', ...untouched)).code, 75)
      const quiet = await elsewhere('db', '-n', '-q', ...untouched)
      assert.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [75, '', ''])
      held.release()
    })

    it('when there can be no lock: 125', async () => {
      const { code, stderr } = await elsewhere('missing/db', ...untouched)
      assert.equal(code, 125)
      assert.match(stderr, /missing does not exist/)
    })

    const wrong: [what: string, args: string[], message: RegExp][] = [
      ['no "--"', ['db', 'touch', 'it-ran'], /put "--" between/],
      ['a "--" at the wrong place', ['--', 'db', 'touch', 'it-ran'], /put "--" between/],
      ['a "--" too late', ['db', 'touch', '--', 'it-ran'], /put "--" between/],
      ['no command', ['db', '--'], /missing required argument 'command'/],
      ['no file', untouched, /put "--" between/],
      ['a timeout that is none', ['db', '--timeout', 'soon', ...untouched], /number of seconds from 0/],
      ['a negative timeout', ['db', '--timeout', '-1', ...untouched], /number of seconds from 0/],
      ['two ways of waiting', ['db', '-n', '-w', '1', ...untouched], /cannot be used with/],
      ['an exit code that is none', ['db', '-E', '256', ...untouched], /whole number from 0 to 255/],
    ]
    for (const [what, args, message] of wrong) {
      it(`with ${what}: 2`, async () => {
        const { code, stderr } = await elsewhere(...args)
        assert.equal(code, 2)
        assert.match(stderr, message)
      })
    }
  })

  it('says so when a command is not there (127) or cannot be executed (126)', async () => {
    writeFileSync(at('text'), 'no program')
    chmodSync(at('text'), 0o644)
    for (const [name, code, message] of [
      ['no-such-command', 127, /no-such-command: command not found/],
      ['', 127, /command not found/],
      [at('text'), 126, /text: cannot be executed: permission denied/],
      [at(), 126, /cannot be executed: permission denied/],
    ] as const) {
      const outcome = await run('--', name)
      assert.equal(outcome.code, code)
      assert.match(outcome.stderr, message)
      assert.ok(isFree())
    }
  })

  it('help has the options and the exit codes', async () => {
    const { code, stdout } = await pslock('help', 'run')
    assert.equal(code, 0)
    assert.match(stdout, /<file> -- <command>/)
    assert.match(stdout, /--timeout <seconds>.*default: 30.*Exit codes.*75.*125.*126.*127/s)
    assert.equal((await pslock('run', '--help')).stdout, stdout)
  })
})
