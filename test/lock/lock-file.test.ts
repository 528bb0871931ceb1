import assert from 'node:assert/strict'
import {
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { canonicalPath, LockFile } from '../../src/lock/lock-file.ts'
import { useFolder } from '../fixtures/folder.ts'

describe('lock file', () => {
  const at = useFolder()
  const files: LockFile[] = []
  const newFile = () => {
    const file = new LockFile(at('l'))
    files.push(file)
    return file
  }

  afterEach(() => {
    for (const file of files.splice(0)) file.close()
  })

  it('is opened at the first lock and kept open, not before', () => {
    const file = newFile()
    assert.equal(file.exists(), false)
    assert.equal(file.fd, undefined)
    assert.equal(file.tryLock('exclusive'), true)
    const { fd } = file
    assert.equal(typeof fd, 'number')
    file.unlock()
    assert.equal(file.tryLock('shared'), true)
    assert.equal(file.fd, fd)
  })

  it('unlock and close may come at any time, and twice', () => {
    const file = newFile()
    file.unlock()
    file.close()
    file.tryLock('exclusive')
    file.close()
    file.close()
    file.unlock()
    assert.equal(newFile().tryLock('exclusive'), true)
  })

  it('after a grant the path names what is locked, though it was replaced while it was open', () => {
    for (const replace of [
      () => unlinkSync(at('l')),
      () => {
        writeFileSync(at('new'), '')
        renameSync(at('new'), at('l'))
      },
    ]) {
      const [one, two] = [newFile(), newFile()]
      for (const file of [one, two]) {
        assert.equal(file.tryLock('exclusive'), true)
        file.unlock()
      }
      replace()
      assert.equal(one.tryLock('exclusive'), true)
      assert.equal(two.tryLock('exclusive'), false)
      one.unlock()
      assert.equal(two.tryLock('exclusive'), true)
      two.unlock()
    }
  })

  it('a ghost that holds a deleted file does not make the new one busy', () => {
    const [ghost, file] = [newFile(), newFile()]
    ghost.tryLock('exclusive')
    assert.equal(file.tryLock('exclusive'), false)
    unlinkSync(at('l'))
    assert.equal(file.tryLock('exclusive'), true)
  })

  it('neither opening nor locking changes what is in it', () => {
    writeFileSync(at('l'), 'content')
    const before = statSync(at('l'), { bigint: true })
    const file = newFile()
    file.tryLock('exclusive')
    file.unlock()
    file.close()
    const now = statSync(at('l'), { bigint: true })
    assert.deepEqual(
      [now.mtimeNs, now.ino, readFileSync(at('l'), 'utf8')],
      [before.mtimeNs, before.ino, 'content'],
    )
  })
})

describe('canonical path', () => {
  const at = useFolder()

  it('is the same for all names of one file', () => {
    mkdirSync(at('real'))
    writeFileSync(at('real/file'), '')
    symlinkSync(at('real'), at('folder'))
    symlinkSync('real/file', at('link'))
    for (const name of ['real/file', 'folder/file', 'link', 'real/../folder/./file']) {
      assert.equal(canonicalPath(at(name)), at('real/file'))
    }
  })

  it('is the same before the file exists and after', () => {
    mkdirSync(at('real'))
    symlinkSync(at('real'), at('folder'))
    symlinkSync('folder/file', at('link'))
    symlinkSync('link', at('link-to-link'))
    const names = ['real/file', 'folder/file', 'link', 'link-to-link']
    const paths = () => names.map((name) => canonicalPath(at(name)))
    const before = paths()
    writeFileSync(at('real/file'), '')
    assert.deepEqual(before, paths())
    assert.deepEqual(new Set(before), new Set([at('real/file')]))
  })

  it('of what cannot be resolved is absolute: no folder, a file as a folder, a loop of links', () => {
    writeFileSync(at('file'), '')
    symlinkSync('loop-a', at('loop-b'))
    symlinkSync('loop-b', at('loop-a'))
    for (const name of ['missing/file', 'file/inside', 'loop-a']) {
      assert.ok(canonicalPath(at(name)).startsWith('/'), name)
    }
    assert.equal(canonicalPath('missing/../x'), canonicalPath('x'))
  })
})
