import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { fixture, LOADER } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'

const LONG = process.env.PSLOCK_LONG === '1'

/** As in a shell with `ulimit -n`. */
async function manyFiles(limit: number, ...args: [folder: string, ...numbers: number[]]): Promise<string> {
  const script = `ulimit -n ${limit}; exec "$0" "$@"`
  const node = [process.execPath, ...LOADER, fixture('many-files'), ...args.map(String)]
  const { stdout } = await promisify(execFile)('sh', ['-c', script, ...node])
  return stdout
}

describe('far more locks and stores than a process may have files open', () => {
  const at = useFolder()

  it('all work, in turn, while others are held, and all at once', async () => {
    assert.equal(await manyFiles(128, at(), 200, 100, 24), 'well')
  })

  if (LONG) {
    it('1,500 locks and 700 stores', async function () {
      this.timeout(300_000)
      assert.equal(await manyFiles(512, at(), 1500, 700, 50), 'well')
    })
  }
})
