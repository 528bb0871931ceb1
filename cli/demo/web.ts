import { failed } from '../base/failed.ts'
import { print, writeOut } from '../base/output.ts'
import { missingPackage, missingText } from '../stress/stores/packages.ts'
import { DemoServer } from './server.ts'

/** Serves the page until Ctrl-C. */
export async function serveDemo(port: number): Promise<void> {
  const missing = missingPackage('nedb')
  if (missing !== undefined) return failed(new Error(missingText('nedb', missing)))
  const server = new DemoServer()
  const ended = new Promise<void>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGHUP', resolve)
    process.once('SIGTERM', () => {
      process.exitCode = 143
      resolve()
    })
  })
  try {
    writeOut(`${await server.listen(port)}\n`)
    print('pslock: open this address in a browser. Ctrl-C ends the demo, its processes and its files.\n')
    await ended
  } catch (error) {
    failed(error)
  } finally {
    await server.close()
  }
}
