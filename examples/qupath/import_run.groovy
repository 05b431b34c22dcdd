/* Brings the regions of a wsi-idc output folder into the QuPath project that is open.
 *
 * Say below where the results are, and run it once (Automate > Script editor > Run), or from a shell:
 *   QuPath script import_run.groovy --project PROJECT/project.qpproj --args OUT
 *
 * For each OUT/<slide> with regions.geojson: the image of the project whose file has the slide's name gets the regions
 * as annotations of the class IDC. A slide that the project lacks is added from where manifest.csv says that it is.
 * An image that has regions of this run already is left as it is, so that nothing that was corrected is lost; one of
 * another size than the slide of the run is named and left out. What else an image holds stays.
 *
 * Written for QuPath 0.5 and later.
 */
import com.google.gson.JsonParser
import java.awt.image.BufferedImage
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.io.PathIO
import static qupath.lib.scripting.QP.*

def given = binding.hasVariable('args') && args ? args as List : []
def results = given ? given[0] : 'WHERE/THE/RESULTS/ARE'

// One line of manifest.csv, whose cells may be quoted.
def cells = { String line ->
    def found = [], cell = '', quoted = false
    line.each { c ->
        if (c == '"') quoted = !quoted
        else if (c == ',' && !quoted) { found << cell; cell = '' }
        else cell += c
    }
    found << cell
}
def json = { File file -> JsonParser.parseString(file.getText('UTF-8')).getAsJsonObject() }

def out = new File(results)
def runs = (out.listFiles() ?: []).findAll { new File(it, 'regions.geojson').isFile() && new File(it, 'summary.json').isFile() }
def project = getProject()
if (project == null || runs.isEmpty()) {
    println(project == null ? 'open a project first' : "${results}: holds no results of wsi-idc; say where they are")
    return
}

def places = [:]
def manifest = new File(out, 'manifest.csv')
if (manifest.isFile()) {
    def lines = manifest.readLines('UTF-8')
    def names = cells(lines[0])
    lines.drop(1).each { line ->
        def row = [names, cells(line)].transpose().collectEntries()
        places[row.output] = row.slide
    }
}

def nameOf = { entry -> new File(entry.getURIs().first().getPath()).getName() }
runs.sort { it.name }.each { run ->
    def slide = json(new File(run, 'summary.json')).getAsJsonObject('slide')
    def name = slide.get('slide').getAsString()
    def entries = project.getImageList().findAll { nameOf(it) == name }
    def added = false
    if (entries.isEmpty()) {
        def file = new File(places[run.name] ?: name)
        def support = file.exists() ? ImageServerProvider.getPreferredUriImageSupport(BufferedImage, file.toURI().toString()) : null
        if (!support?.getBuilders()) {
            println "${run.name}: the project has no ${name}, nor is it where it was; add the slide to the project first"
            return
        }
        entries = [project.addImage(support.getBuilders().get(0))]
        entries[0].setImageName(name)
        added = true
    }
    if (entries.size() > 1) {
        println "${run.name}: ${entries.size()} images of the project are called ${name}; which one is not known"
        return
    }
    def entry = entries[0]
    def shown = entry == getProjectEntry()
    def data = shown ? getCurrentImageData() : entry.readImageData()
    def server = data.getServer()
    def regions = PathIO.readObjects(new File(run, 'regions.geojson'))
    def there = data.getHierarchy().getAnnotationObjects().collect { it.getID() } as Set
    if (server.getWidth() != slide.get('width').getAsInt() || server.getHeight() != slide.get('height').getAsInt()) {
        println "${run.name}: ${name} is ${server.getWidth()} x ${server.getHeight()} pixels in QuPath, and was " +
            "${slide.get('width')} x ${slide.get('height')}: another image, or another series of it"
        if (added) project.removeImage(entry, true)
    } else if (regions.any { it.getID() in there }) {
        println "${run.name}: ${name} has regions of this run already; left as it is"
    } else {
        data.setImageType(ImageData.ImageType.BRIGHTFIELD_H_E)
        data.getHierarchy().addObjects(regions)
        entry.saveImageData(data)
        println "${run.name}: ${regions.size()} regions -> ${name}"
    }
    if (!shown) server.close()
}
project.syncChanges()
