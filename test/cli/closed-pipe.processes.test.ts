import assert from 'node:assert/strict'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { useFolder } from '../fixtures/folder.ts'
import { killWhatIsLeft, PSLOCK, start, startPslock } from './run-pslock.ts'

describe('output that nobody reads', () => {
  killWhatIsLeft()
  const at = useFolder()

  const commands: [args: () => string[], code: number][] = [
    [() => ['--help'], 0],
    [() => ['run', '--help'], 0],
    [() => ['--version'], 0],
    [() => ['nonsense'], 2],
    [() => ['status', at('db')], 0],
    [() => ['status', at('db'), '--json'], 0],
    [() => ['status', at('db'), '--watch=0.1'], 0],
    [() => ['check', at('db')], 0],
    [() => ['stress', '--procs', '2', '--ops', '2', '--seed', '1', '--store', 'lowdb', '--unlocked'], -1],
  ]

  for (const [args, expected] of commands) {
    it(`of ${args().slice(0, 3).join(' ').replace(at(), '')} is dropped without a stack trace, and the exit code stays`, async () => {
      writeFileSync(at('db'), '{"_id":"a"}\n')
      const running = startPslock(...args())
      running.child.stdout?.destroy()
      const { code, signal, stderr } = await running.outcome
      assert.doesNotMatch(stderr, /EPIPE|at .*:\d+/)
      assert.equal(signal, null)
      if (expected >= 0) assert.equal(code, expected)
    })
  }

  it('on stderr, too', async () => {
    const running = startPslock('nonsense')
    running.child.stderr?.destroy()
    assert.equal((await running.outcome).code, 2)
  })

  it('on a full disk is an error, without a stack trace: 125', async function () {
    if (process.platform !== 'linux') this.skip()
    const full = openSync('/dev/full', 'w')
    try {
      const { code, stderr } = await start(process.execPath, [PSLOCK, 'status', at('db')], {
        stdio: ['ignore', full, 'pipe'],
      }).outcome
      assert.equal(code, 125)
      assert.match(stderr, /^pslock: cannot write the output: ENOSPC[^\n]*\n$/)
    } finally {
      closeSync(full)
    }
  })
})
