import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { useFolder } from '../fixtures/folder.ts'
import { killWhatIsLeft, pslock } from './run-pslock.ts'

/** A store may have its lock file elsewhere, by its option `lockPath`: the command line then needs it as well. */
describe('--lock-path', () => {
  killWhatIsLeft()
  const at = useFolder()
  const elsewhere = () => ['--lock-path', at('elsewhere')]

  const commands: [what: string, args: () => string[], codeWhenFree: number][] = [
    ['run', () => ['run', at('db'), '-w', '0.1', ...elsewhere(), '--', 'touch', at('it-ran')], 0],
    ['dump', () => ['dump', at('db'), at('copy'), '-w', '0.1', ...elsewhere()], 0],
    ['restore', () => ['restore', at('db'), at('old'), '-w', '0.1', ...elsewhere()], 0],
    ['check', () => ['check', at('db'), '-w', '0.1', ...elsewhere()], 0],
    ['repair', () => ['repair', at('db'), '-w', '0.1', ...elsewhere()], 0],
  ]

  for (const [what, args, codeWhenFree] of commands) {
    it(`${what} waits for whoever holds that lock, and makes no other one`, async () => {
      writeFileSync(at('db'), '{"_id":"a"}\n')
      writeFileSync(at('old'), '{"_id":"b"}\n')
      const held = await new PsLock(at('db'), { lockPath: at('elsewhere') }).acquire()
      const { code, stderr } = await pslock(...args())
      assert.equal(code, 75, stderr)
      assert.match(stderr, /elsewhere/)
      assert.ok(!existsSync(at('copy')) && !existsSync(at('it-ran')))
      assert.equal(readFileSync(at('db'), 'utf8'), '{"_id":"a"}\n')
      held.release()
      assert.equal((await pslock(...args())).code, codeWhenFree)
      assert.ok(!existsSync(at('db.lock')))
    })
  }

  it('status looks at that lock', async () => {
    writeFileSync(at('db'), '')
    const held = await new PsLock(at('db'), { lockPath: at('elsewhere') }).acquire()
    assert.equal((await pslock('status', at('db'))).code, 0)
    const { code, stdout } = await pslock('status', at('db'), ...elsewhere())
    assert.equal(code, 1)
    assert.match(stdout, /elsewhere: held/)
    held.release()
    assert.equal((await pslock('status', at('db'), ...elsewhere())).code, 0)
  })

  it('an empty one is wrong usage', async () => {
    assert.equal((await pslock('status', at('db'), '--lock-path', '')).code, 2)
  })
})
