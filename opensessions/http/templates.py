"""Templates: prepared workspaces that sessions begin with."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse, Response

from opensessions.errors import NotFound
from opensessions.http import views
from opensessions.http.bodies import Body
from opensessions.http.openapi import answers, body, problems
from opensessions.http.parameters import Account, Ask
from opensessions.http.requests import NewTemplate
from opensessions.http.strict_json import parse

router = APIRouter(redirect_slashes=False)


async def _template_id(
    template_id: Annotated[str, Path(json_schema_extra={"pattern": views.TEMPLATE_ID})],
) -> str:
    """The id in the path. Raises NotFound for what cannot be one, before anybody looks it up."""
    if not views.is_template_id(template_id):
        raise NotFound("Template not found")
    return template_id


TemplateId = Annotated[str, Depends(_template_id)]


@router.post(
    "/v1/templates", **body("NewTemplate"), **answers("Template", 400, 401, 404, 409, 413, status=201)
)
def create_template(service: Ask, account: Account, raw: Body) -> JSONResponse:
    """Make a template of a session's workspace, what was installed included. Of a sleeping session it is
    `ready` at once; of one that is awake as soon as everything is packed.
    """
    wanted = NewTemplate.read(parse(raw))
    session = service.read(account, wanted.session, wanted.user_id)
    template = service.templates.create(session, wanted.name)
    return JSONResponse(views.template(template), 201, {"Location": f"templates/{template.id}"})


@router.get("/v1/templates", **answers("TemplateList", 401))
def list_templates(service: Ask, account: Account) -> JSONResponse:
    """All templates, oldest first."""
    return JSONResponse({"data": [views.template(each) for each in service.templates.list(account)]})


@router.get("/v1/templates/{template_id}", **answers("Template", 401, 404))
def get_template(service: Ask, account: Account, template_id: TemplateId) -> JSONResponse:
    """A template."""
    return JSONResponse(views.template(service.templates.get(account, template_id)))


@router.delete(
    "/v1/templates/{template_id}",
    status_code=204,
    response_model=None,
    responses={204: {"description": "Deleted."}, **problems(401, 404)},
)
def delete_template(service: Ask, account: Account, template_id: TemplateId) -> Response:
    """Delete a template. Sessions that began with it keep what they have."""
    service.templates.delete(account, template_id)
    return Response(status_code=204)
