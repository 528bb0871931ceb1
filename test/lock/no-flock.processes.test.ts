import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, unlinkSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { asset, codeUrl, LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** Where flock(2) does not work: the system says so, the error says what to do, and nothing is pretended. */
describe('without flock', () => {
  const crew = useCrew()
  const at = useFolder()
  let folder: string
  let library: string

  before(function () {
    folder = mkdtempSync(join(tmpdir(), 'pslock-no-flock-'))
    library = join(folder, 'no-flock.so')
    const source = asset('no-flock.c')
    if (process.platform !== 'linux') this.skip()
    if (spawnSync('cc', ['-shared', '-fPIC', '-o', library, source]).status !== 0) this.skip()
  })

  after(() => rmSync(folder, { recursive: true, force: true }))

  /** A process whose flock fails with this errno, through this binding. */
  const without = (errno: number, options: object = {}, binding = '') =>
    crew.process({
      env: {
        ...process.env,
        LD_PRELOAD: library,
        NO_FLOCK: String(errno),
        LOCK_WORKER_OPTIONS: JSON.stringify(options),
        PSLOCK_BINDING: binding,
      },
    })

  for (const name of ['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'EINVAL'] as const) {
    it(`${name} is a LockUnsupportedError that names the file system and the ways out`, async () => {
      const mate = await without(constants.errno[name])
      const wanted = {
        isPsLockError: true,
        code: 'PSLOCK_UNSUPPORTED',
        path: at('data.lock'),
        message: new RegExp(
          `\\(\\S+ at /.*\\(${name === 'EOPNOTSUPP' ? 'E\\w*NOTSUPP?' : name}\\).*lockPath.*lockfile`,
          's',
        ),
      }
      await assert.rejects(mate.call('acquire', at('data')), wanted)
      await assert.rejects(mate.call('acquireSync', at('data')), wanted)
      await assert.rejects(mate.call('tryAcquire', at('data')), wanted)
    })
  }

  it('so it is through koffi too', async () => {
    const mate = await without(constants.errno.ENOLCK, {}, 'koffi')
    await assert.rejects(mate.call('acquire', at('data')), { code: 'PSLOCK_UNSUPPORTED', message: /ENOLCK/ })
  })

  it('EBADF, as NFS gives it for a lock file that is only readable, names the permission', async () => {
    const mate = await without(constants.errno.EBADF)
    await assert.rejects(mate.call('acquire', at('data')), {
      code: 'PSLOCK_IO',
      message: /EBADF.*permission/s,
    })
  })

  it('the lockfile backend works there, once the file that flock left behind is removed', async () => {
    const refused = await without(constants.errno.ENOLCK)
    await assert.rejects(refused.call('acquire', at('data')), { code: 'PSLOCK_UNSUPPORTED' })
    const options = { backend: 'lockfile', staleMs: 2000 }
    const [one, two] = [
      await without(constants.errno.ENOLCK, options),
      await without(constants.errno.ENOLCK, options),
    ]
    await assert.rejects(one.call('acquire', at('data')), { code: 'PSLOCK_UNSUPPORTED', message: /remove/ })
    unlinkSync(at('data.lock'))
    await one.call('acquire', at('data'))
    assert.equal(await two.call('tryAcquire', at('data')), false)
    const waiting = two.call('acquire', at('data'))
    await one.call('release')
    await waiting
    await two.call('release')
    assert.equal(existsSync(at('data.lock')), false)
  })

  it('on Windows, and where no binding is installed, no lock file is made', async () => {
    const script = `
      Object.defineProperty(process, 'platform', { value: 'win32' })
      const { PsLock } = await import(${JSON.stringify(codeUrl('src/index'))})
      await new PsLock(process.argv[1]).acquire().catch(({ code, message }) => console.log(code, message))`
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [...process.execArgv, ...LOADER, '--input-type=module', '-e', script, at('data')],
      { encoding: 'utf8' },
    )
    assert.match(stdout, /^PSLOCK_UNSUPPORTED .*Windows has no flock.*lockfile/, stderr)
    assert.deepEqual(readdirSync(at()), [])
  })
})
