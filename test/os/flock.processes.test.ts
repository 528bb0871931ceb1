import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, symlinkSync } from 'node:fs'
import { LockIoError } from '../../src/errors.ts'
import { bindingName, tryFlock, unflock } from '../../src/os/flock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** flock(2) as the kernel gives it: a lock belongs to an open file description and is never waited for here. */
describe('flock', () => {
  const crew = useCrew()
  const at = useFolder()
  let fds: number[] = []

  const open = (flags = 'a+', name = 'file') => {
    const fd = openSync(at(name), flags)
    fds.push(fd)
    return fd
  }

  afterEach(() => {
    for (const fd of fds) closeSync(fd)
    fds = []
  })

  it('exclusive excludes all, shared excludes exclusive only, between descriptors of one process too', () => {
    const [a, b] = [open(), open()]
    assert.equal(tryFlock(a, 'exclusive', 'file'), true)
    assert.equal(tryFlock(b, 'exclusive', 'file'), false)
    assert.equal(tryFlock(b, 'shared', 'file'), false)
    unflock(a, 'file')
    assert.equal(tryFlock(a, 'shared', 'file'), true)
    assert.equal(tryFlock(b, 'exclusive', 'file'), false)
    assert.equal(tryFlock(b, 'shared', 'file'), true)
  })

  it('a refused try holds nothing', () => {
    const [a, b, c] = [open(), open(), open()]
    tryFlock(a, 'shared', 'file')
    assert.equal(tryFlock(b, 'exclusive', 'file'), false)
    assert.equal(tryFlock(c, 'shared', 'file'), true)
    unflock(a, 'file')
    unflock(c, 'file')
    assert.equal(tryFlock(a, 'exclusive', 'file'), true)
  })

  it('a read-only descriptor is enough for both modes', () => {
    open()
    const [a, b] = [open('r'), open('r')]
    assert.equal(tryFlock(a, 'exclusive', 'file'), true)
    assert.equal(tryFlock(b, 'shared', 'file'), false)
  })

  it('closing the descriptor frees, and freeing twice is harmless', () => {
    const b = open()
    const a = openSync(at('file'), 'r')
    tryFlock(a, 'exclusive', 'file')
    closeSync(a)
    assert.equal(tryFlock(b, 'exclusive', 'file'), true)
    unflock(b, 'file')
    unflock(b, 'file')
  })

  it("a descriptor that is not open is a LockIoError with the file, and the system's error as its cause", () => {
    for (const call of [() => tryFlock(9999, 'shared', '/some/file'), () => unflock(9999, '/some/file')]) {
      assert.throws(
        call,
        (error) =>
          error instanceof LockIoError &&
          error.path === '/some/file' &&
          error.message.includes('EBADF') &&
          (error.cause as NodeJS.ErrnoException).code === 'EBADF',
      )
    }
  })

  it('the same works through each binding, and the name says which it is', async () => {
    assert.match(bindingName(), /^(native|fs-ext|koffi)$/)
    const [, perl] =
      /^(\/.*)\n$/.exec(spawnSync('sh', ['-c', 'command -v perl'], { encoding: 'utf8' }).stdout) ?? []
    mkdirSync(at('bin'))
    if (perl) symlinkSync(perl, at('bin/perl'))
    for (const [name, env] of [
      ['native', {}],
      ['koffi', {}],
      ['fs-ext', {}],
      ['program', {}],
      // No flock(1), as on macOS.
      ...(perl ? ([['program', { PATH: at('bin') }]] as const) : []),
    ] as const) {
      // Not built here, where it need not be.
      const module = { native: '@pslock/native', 'fs-ext': 'fs-ext' }[name as string]
      if (module && spawnSync(process.execPath, ['-e', `require("${module}")`]).status !== 0) continue
      const mate = await crew.process({ env: { ...process.env, ...env, PSLOCK_BINDING: name } })
      assert.equal(await mate.call('binding'), name)
      const a = open('a+', 'data.lock')
      tryFlock(a, 'shared', 'data.lock')
      assert.equal(await mate.call('tryAcquire', at('data')), false)
      assert.equal(await mate.call('tryAcquire', at('data'), { mode: 'shared' }), true)
      unflock(a, 'data.lock')
      assert.equal(tryFlock(a, 'exclusive', 'data.lock'), false)
      await mate.call('release')
      await assert.rejects(mate.call('flockOnClosed'), { code: 'PSLOCK_IO', message: /EBADF/ })
    }
  })
})
