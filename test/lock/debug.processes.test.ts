import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { codeUrl, LOADER } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'

/** What `NODE_DEBUG=pslock` prints. */
describe('NODE_DEBUG', () => {
  const at = useFolder()

  function linesOf(NODE_DEBUG: string | undefined): string[] {
    const script = `import { PsLock } from ${JSON.stringify(codeUrl('src/lock/lock'))}
      const lock = new PsLock(process.argv[1])
      await Promise.all([lock.exclusive(() => new Promise((done) => setTimeout(done, 30))), lock.shared(() => {})])
      await lock.exclusive(() => lock.exclusive(() => {}))
      await lock.exclusive(() => lock.acquire({ timeoutMs: 5 }).catch(() => {}))`
    const { stderr, status } = spawnSync(
      process.execPath,
      [...LOADER, '--input-type=module', '--eval', script, at('data')],
      { encoding: 'utf8', env: { ...process.env, NODE_DEBUG } },
    )
    assert.equal(status, 0, stderr)
    return stderr.split('\n').filter((line) => /^PSLOCK \d+: /.test(line))
  }

  it('pslock: every wait, grant, release and timeout, with path, mode and time', () => {
    const lines = linesOf('pslock').map((line) => {
      const match =
        /^PSLOCK \d+: (\w+) (\S+) mode=(\w+)(?: (?:waited|held)Ms=([\d.]+))?( nested=true)?$/.exec(line)
      assert.ok(match, line)
      const [, what, path, mode, ms, nested] = match
      assert.equal(path, at('data.lock'))
      assert.equal(ms === undefined, what === 'wait', line)
      return [what, mode, ...(nested ? ['nested'] : [])].join(' ')
    })
    assert.deepEqual(lines, [
      'acquire exclusive',
      'wait shared',
      'release exclusive',
      'acquire shared',
      'release shared',
      ...['acquire exclusive', 'acquire exclusive nested', 'release exclusive nested', 'release exclusive'],
      ...['acquire exclusive', 'wait exclusive', 'timeout exclusive', 'release exclusive'],
    ])
  })

  it('of others, or none: nothing', () => {
    assert.deepEqual(linesOf('http'), [])
    assert.deepEqual(linesOf(undefined), [])
  })
})
