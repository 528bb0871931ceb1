import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import type { TreeLockMode } from '../../src/errors.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { codeUrl, LOADER } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('LockTree: names and arguments', () => {
  const at = useFolder()

  const odd: unknown[] = [
    '',
    '/',
    '/app',
    'app/',
    'app//orders',
    '.',
    '..',
    'app/../other',
    'app/.',
    '#',
    '#op',
    'app#',
    'app/#op',
    'app#a#b',
    'app#a/b',
    'app/orders\n',
    'app\0',
    'app\u2028',
    'app/\ud800',
    'a'.repeat(401),
    'é'.repeat(201),
    undefined,
    null,
    7,
    ['app'],
  ]
  for (const name of odd) {
    it(`${JSON.stringify(name)?.slice(0, 30)} is no name, and the TypeError shows it`, async () => {
      const tree = new LockTree(at('db'))
      const isShown = (error: unknown) => error instanceof TypeError && /^name .*, got /.test(error.message)
      assert.throws(() => tree.tryAcquire(name as string), isShown)
      await assert.rejects(tree.acquire(name as string), isShown)
      const run = () => assert.fail('it ran')
      await assert.rejects(tree.exclusive(name as string, run), isShown)
      await assert.rejects(tree.shared(name as string, run), isShown)
      if (name !== undefined) assert.throws(() => tree.holders(name as string), isShown)
      assert.equal(existsSync(tree.path), false)
    })
  }

  it('other arguments that are none are TypeErrors too', async () => {
    assert.throws(() => new LockTree(''), TypeError)
    assert.throws(() => new LockTree(at('db'), { timeoutMs: -1 }), TypeError)
    const tree = new LockTree(at('db'))
    for (const reason of ['', 'two\nlines', 'x'.repeat(101), '\ud800', 7 as unknown as string]) {
      await assert.rejects(
        tree.exclusive('app', () => {}, { reason }),
        TypeError,
      )
    }
    for (const mode of ['SIX', 'write', ''] as unknown as TreeLockMode[]) {
      assert.throws(() => tree.tryAcquire('app', { mode }), TypeError)
    }
    await assert.rejects(
      tree.exclusive('app', () => {}, { timeoutMs: Number.NaN }),
      TypeError,
    )
    await assert.rejects(tree.exclusive('app', undefined as unknown as () => void), TypeError)
  })

  it('without open file description locks there is a typed error, and no file', async () => {
    const source = `
      Object.defineProperty(process, 'platform', { value: 'darwin' })
      const { LockTree } = await import(${JSON.stringify(codeUrl('src/index'))})
      const tree = new LockTree(${JSON.stringify(at('db'))})
      await tree.exclusive('app', () => {}).catch(({ code, message }) => console.log(code, message))`
    const args = [...LOADER, '--input-type=module', '-e', source]
    const { stdout } = await promisify(execFile)(process.execPath, args)
    assert.match(stdout, /^PSLOCK_UNSUPPORTED .* Linux x64 and arm64 only, this is darwin/)
    assert.equal(existsSync(at('db.locktree')), false)
  })

  describe('that work', () => {
    skipWithoutRangeLocks()

    it('letters of all scripts, spaces, case and normal forms are told apart; so are the longest', () => {
      const names = [
        'Größe',
        'Gro\u0308ße',
        'größe',
        'テーブル',
        '😀/😀',
        ' ',
        'a b',
        'a b ',
        'name x',
        '"quoted\\"',
        '...',
        '~',
        '__proto__',
        `${'a'.repeat(399)}b`,
        `${'a'.repeat(399)}c`,
        `${'x/'.repeat(199)}y`,
      ]
      const tree = new LockTree(at('db'))
      const other = new LockTree(at('db'))
      const held = names.map((name) => {
        const got = tree.tryAcquire(name, { reason: '語'.repeat(100) })
        assert.ok(got, name)
        return got
      })
      for (const name of names) assert.equal(other.tryAcquire(name), undefined, name)
      assert.deepEqual(
        other.holders().map(({ name }) => name),
        names,
      )
      assert.equal(other.holders()[0]?.reason, '語'.repeat(100))
      for (const one of held) one.release()
      for (const name of names) other.tryAcquire(name)!.release()
    })
  })
})
