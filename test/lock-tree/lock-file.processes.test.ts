import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { LockIoError, LockLostError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { codeUrl, LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('LockTree: its lock file', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()

  it('is beside the real path of what it is of, has its mode, and is no lock of the PsLock there', async () => {
    mkdirSync(at('folder'))
    writeFileSync(at('folder/data'), '')
    chmodSync(at('folder/data'), 0o640)
    symlinkSync(at('folder/data'), at('link'))
    const tree = new LockTree(at('link'))
    const held = await tree.acquire('app')
    assert.equal(tree.path, `${at('folder/data')}.locktree`)
    assert.equal(statSync(tree.path).mode & 0o777, 0o640)
    assert.equal(new LockTree(tree.path).path, tree.path)
    assert.equal(new LockTree(at('folder/data')).tryAcquire('app'), undefined)
    new PsLock(at('folder/data')).tryAcquire()!.release()
    held.release()
    const ofFolder = new LockTree(at('folder'))
    ofFolder.tryAcquire('app')!.release()
    assert.equal(ofFolder.path, `${at('folder')}.locktree`)
  })

  const losses = {
    deleted: (path: string) => unlinkSync(path),
    replaced: (path: string) => {
      writeFileSync(at('new'), '')
      renameSync(at('new'), path)
    },
  }
  for (const [what, lose] of Object.entries(losses)) {
    it(`${what} while held: the callback form says so, and from then on all exclude each other again`, async () => {
      const tree = new LockTree(at('db'))
      const mate = await crew.process()
      let ran = false
      const losing = tree.exclusive('app', () => {
        lose(tree.path)
        ran = true
      })
      await assert.rejects(losing, LockLostError)
      assert.ok(ran)
      assert.equal(await mate.call('treeTry', at('db'), 'app/orders'), true)
      assert.equal(tree.tryAcquire('app'), undefined)
      await mate.call('treeRelease', 'app/orders')
      tree.tryAcquire('app')!.release()
    })

    it(`${what} while waited for: the waiter goes on with the new file`, async () => {
      const tree = new LockTree(at('db'))
      const mate = await crew.process()
      await mate.call('treeAcquire', at('db'), 'app')
      const waiting = tree.acquire('app/orders')
      assert.ok(await staysPending(waiting))
      lose(tree.path)
      const held = await waiting
      assert.equal(await mate.call('treeTry', at('db'), 'app/orders/price', { as: 'second' }), false)
      held.release()
    })
  }

  it('emptied while held: nobody gets other numbers for the names before the holders have ended', async () => {
    const tree = new LockTree(at('db'))
    const [mate, other] = await crew.processes(2)
    await mate!.call('treeAcquire', at('db'), 'app/orders')
    await other!.call('treeTry', at('db'), 'app/orders')
    truncateSync(tree.path)
    assert.throws(() => tree.tryAcquire('app/orders'), LockLostError)
    await assert.rejects(
      other!.call('treeTry', at('db'), 'app/orders'),
      (error: { code: string }) => error.code === 'PSLOCK_LOST',
    )
    await mate!.call('treeRelease', 'app/orders')
    assert.equal(await other!.call('treeTry', at('db'), 'app/new'), true)
    assert.equal(tree.tryAcquire('app/new'), undefined)
    assert.equal(await mate!.call('treeTry', at('db'), 'app/orders'), true)
  })

  for (const text of ['hello\n', `${'x'.repeat(5000)}\n`, '{"pid":1}'.padEnd(512)]) {
    it(`that is somebody else's (${text.length} bytes) is refused and left as it is`, async () => {
      const tree = new LockTree(at('db'))
      writeFileSync(tree.path, text)
      await assert.rejects(
        tree.exclusive('app', () => {}),
        LockUnsupportedError,
      )
      assert.deepEqual(tree.holders(), [])
      assert.equal(readFileSync(tree.path, 'utf8'), text)
    })
  }

  it('that is a link, or a folder, or cannot be made, is a typed error', async () => {
    const tree = new LockTree(at('db'))
    writeFileSync(at('target'), '')
    symlinkSync(at('target'), `${at('db')}.locktree`)
    assert.throws(() => tree.tryAcquire('app'), LockUnsupportedError)
    assert.equal(readFileSync(at('target'), 'utf8'), '')
    unlinkSync(`${at('db')}.locktree`)
    mkdirSync(`${at('db')}.locktree`)
    assert.throws(() => tree.tryAcquire('app'), LockUnsupportedError)
    assert.throws(() => tree.holders(), LockIoError)
    assert.throws(() => new LockTree(at('nowhere/db')).tryAcquire('app'), LockIoError)
  })

  it('with a long hole, as a write far behind an emptied file leaves it, is read in pieces', () => {
    const tree = new LockTree(at('db'))
    tree.tryAcquire('app')!.release()
    truncateSync(tree.path, 256 * 2 ** 20)
    const script = `
      const { LockTree } = await import(${JSON.stringify(codeUrl('src/lock-tree/lock-tree'))})
      const peak = () => process.resourceUsage().maxRSS / 1024
      const before = peak()
      const tree = new LockTree(process.argv[1])
      const held = tree.tryAcquire('app/orders')
      console.log(JSON.stringify({ names: tree.holders().map(({ name }) => name), grown: peak() - before }))`
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [...LOADER, '--input-type=module', '-e', script, at('db')],
      { encoding: 'utf8', timeout: 30_000 },
    )
    assert.notEqual(stdout, '', stderr)
    const { names, grown } = JSON.parse(stdout) as { names: string[]; grown: number }
    assert.deepEqual(names, ['app/orders'])
    assert.ok(grown < 100, `${grown} MB`)
  })

  it('whose last record was never finished goes on behind it', () => {
    const tree = new LockTree(at('db'))
    tree.tryAcquire('app/orders')!.release()
    const before = readFileSync(tree.path)
    writeFileSync(tree.path, Buffer.concat([before, Buffer.from('name app/hal')]))
    const held = tree.tryAcquire('app/half')!
    assert.equal(new LockTree(at('db')).tryAcquire('app/half'), undefined)
    assert.equal(new LockTree(at('db')).tryAcquire('app/hal') === undefined, false)
    assert.deepEqual(readFileSync(tree.path).subarray(0, 512), before.subarray(0, 512))
    held.release()
  })

  it('keeps each of 500 names once, whoever was first, and none meets another', async () => {
    const seed = newSeed()
    const next = random(seed)
    const names = [...new Set(Array.from({ length: 500 }, () => `t${Math.floor(next() * 1e9)}`))]
    const mates = await crew.processes(4)
    const share = Math.ceil(names.length / mates.length)
    const shares = mates.map((_, i) => names.slice(i * share, (i + 1) * share))
    const got = await Promise.all(mates.map((mate, i) => mate.call('treeTryAll', at('db'), shares[i]!)))
    assert.deepEqual(got, shares)
    const tree = new LockTree(at('db'))
    assert.deepEqual(
      names.filter((name) => tree.tryAcquire(name)),
      [],
    )
    const pids = new Map(tree.holders().map(({ name, pid }) => [name, pid]))
    for (const [i, mate] of mates.entries()) {
      for (const name of shares[i]!) assert.equal(pids.get(name), mate.pid)
    }
    const kept = (readFileSync(tree.path, 'utf8').match(/^name .*$/gm) ?? []).map((line) => line.slice(5))
    assert.deepEqual(kept.sort(), [...names].sort())
    note(`seed ${seed}`)
  })
})
